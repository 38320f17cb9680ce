"""What transfer gained each client, as a plot of a run's report."""

from __future__ import annotations

from ..gain import WORDS, Gain
from ..rounds import natural
from .report_clients import NAMED_BARS_MOST, unique_labels
from .report_figures import COLOURS, Figure, Trace, words


def gains(gain: Gain | None) -> list[Figure]:
    """A bar a client for each model had without the run; of many clients, how often which gain."""
    if gain is None or not gain.scores:
        return []
    names = sorted(gain.scores, key=natural)
    labels = unique_labels(names)
    named = len(names) <= NAMED_BARS_MOST
    traces: list[Trace] = []
    for (model, described), colour in zip(WORDS.items(), COLOURS, strict=False):
        over = gain.over(model)
        values = [over[name] for name in names]
        style = {"name": f"over {described}", "marker": {"color": colour, "line": {"width": 0}}}
        if named:
            shown = "%{x}: %{y:+.4~f}"
            traces.append({"type": "bar", "x": labels, "y": values, "hovertemplate": shown} | style)
        else:
            traces.append({"type": "histogram", "x": values, "opacity": 0.7} | style)
    axis = {"type": "category", "showgrid": False} if named else {"title": {"text": "gain"}}
    note = "Below 0 the client would do better without the run: transfer hurts it."
    title = f"Gain in {words(gain.metric).lower()} of each client"
    layout = {"xaxis": axis, "barmode": "group" if named else "overlay", "bargap": 0.25}
    return [Figure(title, traces, note, layout)]
