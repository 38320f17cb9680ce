"""`umbel nodes`: who is connected to a server."""

from __future__ import annotations

import datetime
from typing import Any

import httpx
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..errors import UmbelError
from ..http_internals import refusal
from ..rounds import human_seconds, printable
from ..security.interceptors import operator_headers
from ..transfer import PROTOBUF, explain, tls_context
from .submit import Link

NODES = "/v1/umbel/nodes"


def list_nodes(link: Link) -> list[dict[str, Any]]:
    """What a server knows of its nodes, by name: `name`, `node`, `status`, `since`,
    `last_seen`, `address`, `version` and `schema`.

    Raises UmbelError where it cannot be reached, or refuses to tell.
    """
    scheme = "http" if link.root_certificates is None else "https"
    headers = {"content-type": PROTOBUF, **operator_headers(link.key, "POST", NODES, b"")}
    verify = tls_context(link.root_certificates)
    try:
        with httpx.Client(verify=verify, timeout=30.0, trust_env=False) as client:
            answer = client.post(f"{scheme}://{link.address}{NODES}", headers=headers)
            answer.raise_for_status()
            found: list[dict[str, Any]] = answer.json()
            return found
    except httpx.HTTPStatusError as error:
        raise UmbelError(f"{link.address}: {refusal(error)}") from error
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        raise UmbelError(f"{link.address}: {explain(link.address, error)}") from error


def show_nodes(nodes: list[dict[str, Any]]) -> None:
    """Print nodes as a table."""
    table = Table(box=None)
    for column in ("name", "status", "since", "last seen", "from", "data", "version"):
        table.add_column(column, overflow="fold")
    for node in nodes:
        cells = (
            node["name"] or str(node["node"]),
            node["status"],
            ago(node["since"]),
            ago(node["last_seen"]),
            node["address"],
            node["schema"],
            node["version"],
        )
        # Some are the node's own words: no markup, and nothing that a terminal would obey.
        table.add_row(*(Text(printable(cell)) for cell in cells))
    Console().print(table)


def ago(moment: str) -> str:
    """How long ago a moment (ISO 8601) was; empty where there was none.

    >>> now = datetime.datetime.now(datetime.UTC).isoformat()
    >>> ago(now), ago("")
    ('1 s', '')
    """
    if not moment:
        return ""
    then = datetime.datetime.fromisoformat(moment)
    seconds = (datetime.datetime.now(datetime.UTC) - then).total_seconds()
    return human_seconds(max(1, round(seconds)))
