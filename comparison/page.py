"""A comparison on paper: its table as CSV, and one page with the table and the plot."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ..rounds import human_bytes
from ..server.report_figures import BARS_MOST, COLOURS, Figure, Trace, words
from ..server.report_page import render
from .summary import Curve, Line, Run, Yardstick

DASHES = ("solid", "dash", "dot", "dashdot")
"""Told apart by these too, where there are more strategies than colours."""

SPREADS = ("final", "best", "bytes", "rounds_to_target", "bytes_to_target")


def as_csv(lines: Sequence[Line]) -> str:
    """The table for programs: a line a strategy, with means and sample standard deviations."""
    columns = ["strategy", "runs", "finished", "reached_target"]
    columns += [f"{name}_{kind}" for name in SPREADS for kind in ("mean", "deviation")]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    for line in lines:
        spreads = [line.spread(name) for name in SPREADS]
        reached = line.spread("rounds_to_target").count
        row: list[object] = [line.strategy, len(line.runs), len(line.over), reached]
        for spread in spreads:
            row += [spread.mean if spread.count else "", spread.deviation]
        writer.writerow(["" if value is None else value for value in row])
    return text.getvalue()


def cells_of(line: Line, yardstick: Yardstick) -> list[str]:
    """A strategy's line of the table for people; see `headings`."""
    score, count = "{:.4f}".format, "{:.1f}".format
    shown = [
        line.strategy,
        f"{len(line.over)}/{len(line.runs)}",
        line.spread("final").shown(score),
        line.spread("best").shown(score),
    ]
    if yardstick.target is None:
        return [*shown, _bytes(line, "bytes")]
    rounds = line.spread("rounds_to_target")
    if not rounds.count:
        return [*shown, "not reached" if line.over else "", ""]
    some = f" ({rounds.count}/{len(line.over)})" if rounds.count < len(line.over) else ""
    return [*shown, rounds.shown(count) + some, _bytes(line, "bytes_to_target")]


def headings(yardstick: Yardstick) -> list[str]:
    """The names of the table's columns, which may break in two."""
    shown = ["strategy", "runs", f"final\n{yardstick.name}", "best"]
    if yardstick.target is None:
        return [*shown, "bytes"]
    return [*shown, f"rounds\nto {yardstick.target:g}", f"bytes\nto {yardstick.target:g}"]


def page(
    title: str, lines: Sequence[Line], curves: Sequence[Curve], yardstick: Yardstick, folder: Path
) -> str:
    """The page: table, plot and a link to the report of each run."""
    figure = plot(curves, yardstick)
    content = {
        "name": title,
        "lead": f"{yardstick.name}: mean ± sample standard deviation over the runs that finished",
        "headings": headings(yardstick),
        "rows": [cells_of(line, yardstick) for line in lines],
        "title": figure.title,
        "height": figure.height,
        "runs": [(line.strategy, list(_links(line.runs, folder))) for line in lines],
    }
    drawing = {"data": figure.data, "layout": figure.layout, "height": figure.height}
    return render(content, {"plot": {**drawing, "legend": True}}, "comparison", BODY)


def plot(curves: Sequence[Curve], yardstick: Yardstick) -> Figure:
    """The metric by round: a line for each strategy's mean, a band for its spread."""
    traces: list[Trace] = []
    for index, one in enumerate(curves):
        colour = COLOURS[index % len(COLOURS)]
        dash = DASHES[index // len(COLOURS) % len(DASHES)]
        traces += _band(one, colour)
        traces.append(
            {
                "type": "scatter",
                "mode": "lines+markers" if len(one.rounds) <= BARS_MOST else "lines",
                "name": one.strategy,
                "legendgroup": one.strategy,
                "x": list(one.rounds),
                "y": [spread.mean for spread in one.spreads],
                "line": {"color": colour, "width": 2, "dash": dash},
                "hovertemplate": "%{y:.4~g}",
            }
        )
    layout: dict[str, Any] = {
        "xaxis": {"title": {"text": "round"}, "tickformat": "d"},
        "yaxis": {"title": {"text": yardstick.name}},
        "hovermode": "x unified",
    }
    if yardstick.target is not None:
        line = {"color": COLOURS[7], "width": 1, "dash": "dash"}
        ends = {"x0": 0, "x1": 1, "y0": yardstick.target, "y1": yardstick.target}
        layout["shapes"] = [{"type": "line", "xref": "paper", **ends, "line": line}]
    height = 420 + 20 * (len(curves) // 4)
    return Figure(f"{words(yardstick.metric)} by round", traces, layout=layout, height=height)


def _bytes(line: Line, column: str) -> str:
    spread = line.spread(column)
    return human_bytes(spread.mean) if spread.count else ""


def _band(one: Curve, colour: str) -> list[Trace]:
    wide = [(r, s.mean, s.deviation) for r, s in zip(one.rounds, one.spreads, strict=True)]
    points = [(r, mean, deviation) for r, mean, deviation in wide if deviation is not None]
    if not points:
        return []
    there = [(r, mean + deviation) for r, mean, deviation in points]
    back = [(r, mean - deviation) for r, mean, deviation in reversed(points)]
    return [
        {
            "type": "scatter",
            "mode": "lines",
            "x": [x for x, _ in there + back],
            "y": [y for _, y in there + back],
            "fill": "toself",
            "fillcolor": f"{colour}22",
            "line": {"width": 0},
            "hoverinfo": "skip",
            "showlegend": False,
            "legendgroup": one.strategy,
        }
    ]


def _links(runs: Sequence[Run], folder: Path) -> Iterator[dict[str, Any]]:
    for run in runs:
        path = Path(os.path.relpath(run.folder, folder)) / "report.html"
        there = (Path(run.folder) / "report.html").is_file()
        yield {**asdict(run), "link": quote(path.as_posix()) if there else ""}


BODY = """<header>
<h1>{{ name }}</h1>
<p class="lead">{{ lead }}</p>
</header>
<section id="table">
<div class="card scroll"><table>
<thead><tr>{% for heading in headings %}<th>{{ heading }}</th>{% endfor %}</tr></thead>
<tbody>
{% for row in rows %}
<tr>{% for value in row %}<td>{{ value }}</td>{% endfor %}</tr>
{% endfor %}
</tbody></table></div>
</section>
<noscript><p>The plot needs JavaScript; the tables do not.</p></noscript>
<section>
<h2>{{ title }}</h2>
<figure class="card">
<div id="plot" role="img" aria-label="{{ title }}" style="height:{{ height }}px"></div>
</figure>
</section>
<section id="runs">
<h2>Runs</h2>
<div class="card scroll"><table>
<thead><tr><th>Strategy</th><th class="number">Seed</th><th>Status</th>
<th class="number">Rounds</th><th class="number">Final</th><th>Report</th></tr></thead>
<tbody>
{% for strategy, own in runs %}
{% for run in own %}
<tr><td>{{ strategy }}</td><td class="number">{{ run.seed }}</td><td>{{ run.status }}</td>
<td class="number">{{ run.rounds }}</td>
<td class="number">{{ '%.4f' % run.final if run.final is not none else '' }}</td>
<td>{% if run.link %}<a href="{{ run.link }}">report</a>{% endif %}</td></tr>
{% endfor %}
{% endfor %}
</tbody></table></div>
</section>
"""
