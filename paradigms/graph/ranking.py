"""How well a node's neighbours of one class are found, where all of that class are ranked."""

from __future__ import annotations

import torch
from torch import Tensor

from ...errors import BadInput
from ...registry import nearest
from ...schema import Schema

RANKED_AT_ONCE = 512
"""Nodes that all others are ranked for at a time; it bounds memory."""


def class_code(schema: Schema, name: str) -> int:
    """The code of the class whose nodes are ranked; raises BadInput where there is none."""
    if name not in schema.classes:
        raise BadInput(
            f"paradigm.rank: no node is of the class {name!r}{nearest(name, schema.classes)}"
        )
    return schema.classes.index(name)


def ends(pairs: Tensor, ranked: Tensor) -> tuple[Tensor, Tensor]:
    """Of pairs (k, 2) of a node that is ranked and one that is not, these (k,) and those (k,).

    >>> ends(torch.tensor([[0, 2], [2, 1]]), torch.tensor([False, False, True]))
    (tensor([0, 1]), tensor([2, 2]))
    """
    second = ranked[pairs[:, 1]]
    one, other = pairs.unbind(dim=1)
    return torch.where(second, one, other), torch.where(second, other, one)


def recall(scores: Tensor, known: Tensor, wanted: Tensor, at: int) -> Tensor:
    """Of each row, the share of what is wanted that is among the first `at` by score; what is known
    is not ranked, and of equal scores the first goes first.

    Paper: He et al. 2020, LightGCN, arXiv 2002.02126, section 4.1: recall@20, where all that a user
    has not met in training is ranked.

    Args:
        scores: (u, i).
        known: (u, i), boolean.
        wanted: (u, i), boolean, nothing of it known, in each row something.
        at: >= 1.

    >>> scores = torch.tensor([[4.0, 3.0, 2.0, 1.0]])
    >>> known = torch.tensor([[True, False, False, False]])
    >>> recall(scores, known, torch.tensor([[False, True, False, True]]), at=2)
    tensor([0.5000])
    """
    order = scores.masked_fill(known, -torch.inf).argsort(dim=1, descending=True, stable=True)
    found = wanted.gather(1, order[:, :at])
    return found.sum(dim=1) / wanted.sum(dim=1)


def recalls(found: Tensor, ranked: Tensor, edges: Tensor, held: Tensor, at: int) -> Tensor:
    """The recall (u,) of each node that is not ranked and has a held out neighbour that is.

    Args:
        found: (n, d), whose products are the scores.
        ranked: (n,), boolean.
        edges: (2, m), those of training, each in both directions.
        held: (k, 2), pairs that were held out.
        at: how many of the first count.
    """
    items = ranked.nonzero().flatten()
    place = ranked.cumsum(0) - 1
    users, item = ends(held, ranked)
    asking = users.unique()
    shares = []
    for some in asking.split(RANKED_AT_ONCE):
        row = torch.full((len(ranked),), -1)
        row[some] = torch.arange(len(some))
        known, wanted = (torch.zeros(len(some), len(items), dtype=torch.bool) for _ in range(2))
        mine = (row[edges[0]] >= 0) & ranked[edges[1]]
        known[row[edges[0][mine]], place[edges[1][mine]]] = True
        mine = row[users] >= 0
        wanted[row[users[mine]], place[item[mine]]] = True
        shares.append(recall(found[some] @ found[items].T, known, wanted, at))
    return torch.cat(shares) if shares else torch.zeros(0)
