"""The report's page: one HTML file that needs nothing else and may ask for nothing else.

Names and reasons come from clients, so nothing is trusted: the template escapes whatever it is
given, the plots' data stand in a JSON block that cannot close its element, and the page's
Content-Security-Policy runs only the two scripts whose digests it names and forbids every
request, so that even a slip in the former could neither run a script nor send anything away.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from typing import Any

from .report_style import BODY, DRAW, FRAME, STYLE


def render(
    content: Mapping[str, Any], figures: Mapping[str, Any], kind: str = "report", body: str = BODY
) -> str:
    """The whole page, from its body's template, the variables there, and the plots by element
    id; `kind` stands in the title."""
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup
    from plotly.offline import get_plotlyjs

    plotly = get_plotlyjs()
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(FRAME.replace("{body}", body)).render(
        **content,
        kind=kind,
        policy=policy(plotly, DRAW),
        style=Markup(STYLE),
        plotly=Markup(plotly),
        draw=Markup(DRAW),
        figures=Markup(json_block(figures)),
    )


def render_plain(template: str, content: Mapping[str, Any]) -> str:
    """A page without scripts in the report's style, from its own template."""
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    environment = Environment(autoescape=True, undefined=StrictUndefined)
    return environment.from_string(template).render(**content, style=Markup(STYLE))


def policy(*scripts: str) -> str:
    """The Content-Security-Policy under which only the given inline scripts run.

    >>> policy("let x;")[:56]
    "default-src 'none'; img-src data: blob:; style-src 'unsa"
    """
    digests = (
        base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts
    )
    allowed = " ".join(f"'sha256-{digest}'" for digest in digests)
    return (
        "default-src 'none'; img-src data: blob:; style-src 'unsafe-inline'; "
        f"form-action 'none'; base-uri 'none'; script-src {allowed}"
    )


def json_block(value: object) -> str:
    """`value` as JSON that may stand inside a script element: it holds no `<`, `>` or `&`.

    >>> json_block("</script>")
    '"\\\\u003c/script\\\\u003e"'
    """
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    for letter in "<>&":
        text = text.replace(letter, f"\\u{ord(letter):04x}")
    return text
