"""The exchange after the last round in which clients show a part of their graphs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from flwr.app import RecordDict
from flwr.serverapp import Grid
from torch import Tensor

from ..data.subgraphs import MOST_GRAPHS, MOST_NODES
from ..errors import UmbelError, UpdateRefused
from ..messages import CODES, SHOW, SUBGRAPH, Envelope, record_bytes
from ..schema import Schema
from .exchange import exchange
from .observer import Observer
from .outcomes import failure_rows
from .population import Population
from .validation import open_reply, read_groups
from .watching import watch_for

if TYPE_CHECKING:
    from ..experiment import Experiment

MOST_LINKS = 2**53
"""More edges than a client can have."""


def tell_subgraphs(
    way: tuple[Grid, Population, Observer],
    experiment: Experiment,
    task: Mapping[str, Any],
    places: Sequence[int],
) -> dict[str, Any]:
    """What subgraphs.json says.

    Args:
        way: to the clients, who they are, and who watches.
        experiment: the run's.
        task: what every message's header says.
        places: in the population, of the clients that are asked.
    """
    grid, population, observer = way
    members = [population.nodes[place] for place in places]
    population.ask(members)
    if population.schema is None:
        raise UmbelError("no client told its schema")
    record = Envelope({**task, "config": {}}).to_record()
    requests: dict[int, RecordDict] = dict.fromkeys(members, record)
    size, bytes_up = record_bytes(record), 0
    watch = watch_for(observer, "parts of the clients' graphs", population.name, size)
    server = experiment.server
    rows: dict[int, dict[str, Any]] = {}
    failures: dict[str, tuple[str, str]] = {}
    for reply in exchange(grid, requests, SHOW, str(task["round"]), server.deadline, watch):
        client = population.name(reply.node)
        try:
            header, blob = open_reply(reply)
            bytes_up += record_bytes(reply.content) if reply.content else 0
            if header.get("client") != client:
                raise UpdateRefused(f"it answers as {header.get('client')!r}")
            shown = read_subgraph(header, read_groups(blob), population.schema, server.max_examples)
            rows[reply.node] = {"client": client, **shown}
        except UpdateRefused as refusal:
            failures[client] = ("refused" if reply.outcome == "ok" else reply.outcome, str(refusal))
    return {
        "of": "nodes" if _one_graph(population.schema) else "graphs",
        "classes": list(population.schema.classes),
        "clients": [rows[node] for node in members if node in rows],
        "failures": failure_rows(failures),
        "bytes_up": bytes_up,
        "bytes_down": size * len(members),
    }


def _one_graph(schema: Schema) -> bool:
    return schema.task.startswith("node-")


def read_subgraph(
    header: Mapping[str, Any],
    groups: Mapping[str, Mapping[str, Tensor]],
    schema: Schema,
    most: int,
) -> dict[str, Any]:
    """What a client shows, as a row of subgraphs.json.

    >>> part = {"nodes": torch.tensor([2]), "edges": torch.tensor([[0, 1]])}
    >>> schema = Schema("node-classification", (3,), "float32", ("a", "b"))
    >>> row = read_subgraph({"examples": 7, "links": 9}, {"subgraph": part}, schema, most=10)
    >>> row["examples"], row["links"], row["nodes"], row["edges"], row["codes"]
    (7, 9, [2], [[0, 1]], None)

    Raises UpdateRefused for tensors in another form, more nodes or graphs than are ever shown,
    edges that are not there, lie between graphs or come twice, class codes that are none, and
    where more is shown than the client has, or claimed than `most` examples.
    """
    part = groups.get(SUBGRAPH, {})
    if set(groups) != {SUBGRAPH} or not {"nodes", "edges"} <= set(part) <= {
        "nodes",
        "edges",
        CODES,
    }:
        raise UpdateRefused("it does not show nodes and edges, and nothing else")
    nodes, edges, codes = part["nodes"], part["edges"], part.get(CODES)
    _check_nodes(nodes, _one_graph(schema))
    _check_edges(edges, nodes)
    if codes is not None:
        if codes.dtype != torch.int64 or codes.shape != (int(nodes.sum()),):
            raise UpdateRefused("its class codes are not one whole number for each node")
        if bool((codes < -1).any()) or bool((codes >= len(schema.classes)).any()):
            raise UpdateRefused(f"a class code is none of the {len(schema.classes)} classes")
    shown = int(nodes.sum()) if _one_graph(schema) else len(nodes)
    counts = {"examples": (shown, most), "links": (len(edges), MOST_LINKS)}
    for name, (least, limit) in counts.items():
        count = header.get(name)
        if type(count) is not int or not least <= count <= limit:
            raise UpdateRefused(f"{name} {str(count)[:40]} is not in {least} to {limit}")
    return {
        **{name: header[name] for name in counts},
        "nodes": nodes.tolist(),
        "edges": edges.tolist(),
        "codes": None if codes is None else codes.tolist(),
    }


def _check_nodes(nodes: Tensor, one: bool) -> None:
    graphs = 1 if one else MOST_GRAPHS
    if nodes.dtype != torch.int64 or nodes.dim() != 1 or not 1 <= len(nodes) <= graphs:
        raise UpdateRefused(f"it does not show 1 to {graphs} graphs, by how many nodes each has")
    # Each on its own first: a sum could run over.
    if bool((nodes < 1).any()) or bool((nodes > MOST_NODES).any()) or nodes.sum() > MOST_NODES:
        raise UpdateRefused(f"it does not show 1 to {MOST_NODES} nodes")


def _check_edges(edges: Tensor, nodes: Tensor) -> None:
    if edges.dtype != torch.int64 or edges.dim() != 2 or edges.shape[1] != 2:
        raise UpdateRefused("its edges are no pairs of whole numbers")
    count = int(nodes.sum())
    if len(edges) > count * (count - 1) // 2:
        raise UpdateRefused(f"{len(edges)} edges are more than {count} nodes can have")
    if bool((edges < 0).any()) or bool((edges >= count).any()):
        raise UpdateRefused(f"an edge leads to a node that is none of the {count}")
    if bool((edges[:, 0] >= edges[:, 1]).any()) or len(edges.unique(dim=0)) < len(edges):
        raise UpdateRefused("an edge is a loop, is told twice, or not from its smaller end")
    graph = torch.repeat_interleave(torch.arange(len(nodes)), nodes)
    if bool((graph[edges[:, 0]] != graph[edges[:, 1]]).any()):
        raise UpdateRefused("an edge leads from one graph to another")
