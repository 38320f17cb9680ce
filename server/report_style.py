"""The report's template, style sheet and the script that draws its plots."""

from __future__ import annotations

STYLE = """
:root { --ink: #1a2230; --soft: #5b6472; --line: #e3e7ed; --paper: #fff; --back: #f6f7f9; }
* { box-sizing: border-box; }
body { margin: 0; background: var(--back); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif;
  font-variant-numeric: tabular-nums; }
main { max-width: 1240px; margin: 0 auto; padding: 32px 24px 64px; }
h1 { margin: 0; font-size: 28px; line-height: 1.2; letter-spacing: -.015em;
  overflow-wrap: anywhere; }
h2 { margin: 40px 0 12px; font-size: 18px; letter-spacing: -.01em; }
h3 { margin: 0; font-size: 14px; font-weight: 600; }
p { margin: 0 0 8px; }
.soft, figcaption p { color: var(--soft); font-size: 13px; }
.status { display: inline-block; margin-left: 10px; padding: 2px 10px; border-radius: 99px;
  background: #e5f4ec; color: #116b43; font-size: 13px; font-weight: 600; vertical-align: 5px;
  letter-spacing: 0; }
.status.open { background: #fdf3dc; color: #8a5a00; }
.lead { margin: 6px 0 24px; color: var(--soft); overflow-wrap: anywhere; }
.tiles { display: grid; gap: 10px; grid-template-columns: repeat(auto-fit, minmax(120px, 1fr)); }
.tile, .card { background: var(--paper); border: 1px solid var(--line); border-radius: 10px; }
.tile { padding: 10px 14px; display: flex; flex-direction: column; justify-content: space-between; }
.tile dt { color: var(--soft); font-size: 13px; line-height: 1.3; margin-bottom: 4px; }
.tile dd { margin: 0; font-size: 21px; font-weight: 600; letter-spacing: -.01em;
  white-space: nowrap; }
.tile dd small { color: var(--soft); font-size: 14px; font-weight: 400; }
dl { margin: 0; }
.grid { display: grid; gap: 16px;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 480px), 1fr)); }
.grid > :last-child:nth-child(odd) { grid-column: 1 / -1; }
.card { margin: 0; padding: 16px; min-width: 0; }
.card figcaption { min-height: 22px; }
.scroll { overflow: auto; max-height: 420px; }
table { width: 100%; border-collapse: collapse; font-size: 13.5px; }
th, td { padding: 6px 12px 6px 0; border-bottom: 1px solid var(--line); text-align: left;
  vertical-align: top; overflow-wrap: anywhere; }
th { color: var(--soft); font-weight: 500; white-space: nowrap; }
thead th { position: sticky; top: 0; background: var(--paper); }
tbody tr:last-child > * { border-bottom: 0; }
.kind { white-space: nowrap; }
.number { text-align: right; padding-right: 20px; white-space: nowrap; }
code, pre { font: 12.5px/1.55 ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono",
  monospace; }
pre { margin: 0; white-space: pre-wrap; overflow-wrap: anywhere; }
code { overflow-wrap: anywhere; }
summary { cursor: pointer; font-weight: 600; font-size: 14px; }
details[open] summary { margin-bottom: 12px; }
@media (max-width: 640px) { main { padding: 20px 12px 40px; } .card { padding: 12px; } }
@media print { body { background: #fff; } .card, .tile { break-inside: avoid; } }
"""

DRAW = """
"use strict";
const figures = JSON.parse(document.getElementById("figures").textContent);
const axis = { gridcolor: "#edf0f4", linecolor: "#c9d0d9", zeroline: false, automargin: true,
  title: { font: { size: 12, color: "#5b6472" }, standoff: 8 } };
const legend = { orientation: "h", x: 0, xanchor: "left", y: 1.02, yanchor: "bottom",
  traceorder: "normal" };
const base = {
  font: { family: getComputedStyle(document.body).fontFamily, size: 12, color: "#1a2230" },
  paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
  margin: { l: 48, r: 12, t: 12, b: 40 }, legend, bargap: 0.25,
  hoverlabel: { bgcolor: "#fff", bordercolor: "#c9d0d9", font: { color: "#1a2230" },
    namelength: 40 },
};
const config = { responsive: true, displaylogo: false, displayModeBar: false };
const drawn = Object.entries(figures).map(([id, figure]) => {
  const given = figure.layout;
  const layout = { ...base, ...given, height: figure.height,
    xaxis: { ...axis, ...given.xaxis, title: { ...axis.title, ...(given.xaxis || {}).title } },
    yaxis: { ...axis, ...given.yaxis }, showlegend: figure.legend };
  return Plotly.newPlot(id, figure.data, layout, config);
});
Promise.all(drawn).then(() => { document.body.dataset.drawn = String(drawn.length); });
"""

FRAME = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{{ policy }}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ name }} - umbel {{ kind }}</title>
<style>{{ style }}</style>
</head>
<body>
<main>
{body}</main>
<script type="application/json" id="figures">{{ figures }}</script>
<script>{{ plotly }}</script>
<script>{{ draw }}</script>
</body>
</html>
"""
"""A page around its body, which is put in place of `{body}`."""

BODY = """<header>
<h1>{{ name }}<span class="status{{ '' if finished else ' open' }}">{{ status }}</span></h1>
<p class="lead">{{ lead }}</p>
<dl class="tiles">
{% for label, value, unit in tiles %}
<div class="tile"><dt>{{ label }}</dt>
<dd>{{ value }}{% if unit %} <small>{{ unit }}</small>{% endif %}</dd></div>
{% endfor %}
</dl>
</header>
<noscript><p>The plots need JavaScript; everything else on this page does not.</p></noscript>
{% for heading, plots in sections %}
<section>
<h2>{{ heading }}</h2>
<div class="grid">
{% for id, plot in plots %}
<figure class="card">
<figcaption><h3>{{ plot.title }}</h3>{% if plot.note %}<p>{{ plot.note }}</p>{% endif %}
</figcaption>
<div id="{{ id }}" role="img" aria-label="{{ plot.title }}" style="height:{{ plot.height }}px">
</div>
</figure>
{% endfor %}
</div>
</section>
{% endfor %}
<section id="failures">
<h2>Failures</h2>
<div class="card">
{% if failures %}
<div class="scroll"><table>
<thead><tr><th class="number">Round</th><th>Client</th><th>Kind</th><th>Reason</th></tr></thead>
<tbody>
{% for failure in failures %}
<tr><td class="number">{{ failure.round }}</td><td>{{ failure.client }}</td>
<td class="kind">{{ failure.status }}</td><td>{{ failure.reason }}</td></tr>
{% endfor %}
</tbody></table></div>
{% if failures_left_out %}
<p class="soft">and {{ failures_left_out }} more in metrics.jsonl</p>
{% endif %}
{% else %}
<p class="soft">None: every update that was asked for counted.</p>
{% endif %}
</div>
</section>
{% if rows %}
<section>
<h2>Rounds</h2>
<details class="card"><summary>All {{ rows|length }} rounds in figures</summary>
<div class="scroll"><table>
<thead><tr>
{% for column in columns %}<th class="number">{{ column }}</th>{% endfor %}
</tr></thead>
<tbody>
{% for row in rows %}
<tr>{% for value in row %}<td class="number">{{ value }}</td>{% endfor %}</tr>
{% endfor %}
</tbody></table></div></details>
</section>
{% endif %}
{% if travels %}
<section id="travels">
<h2>What left the clients</h2>
<div class="card"><div class="scroll"><table>
<thead><tr>{% if directions %}<th>Direction</th>{% endif %}
<th>Tensor</th><th>Shape</th><th>Type</th><th class="number">Elements</th></tr></thead>
<tbody>
{% for tensor in travels %}
<tr>{% if directions %}<td>{{ tensor.direction }}</td>{% endif %}
<td><code>{{ tensor.name }}</code></td><td>{{ tensor.shape }}</td><td>{{ tensor.dtype }}</td>
<td class="number">{{ tensor.elements }}</td></tr>
{% endfor %}
</tbody></table></div></div>
</section>
{% endif %}
<section>
<h2>How to repeat it</h2>
<div class="grid">
<div class="card">
<h3>Environment</h3>
<table><tbody>
{% for key, value in environment %}
<tr><th>{{ key }}</th><td>{{ value }}</td></tr>
{% endfor %}
<tr><th>model sha256</th><td><code id="sha256">{{ sha256 }}</code></td></tr>
</tbody></table>
</div>
<div class="card"><h3>experiment.toml</h3><pre>{{ experiment }}</pre></div>
</div>
</section>
"""
