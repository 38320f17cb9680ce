"""The rows of `graphs.py` about which nodes of a graph are linked."""

from __future__ import annotations

import torch
from graph_figures import Setting, shown
from graph_nodes import nodes, unsplit
from kept import kept_run

from umbel.building import build_paradigm
from umbel.data import make_shards
from umbel.experiment import Experiment
from umbel.paradigms.graph.links import PAIRS, RANKED
from umbel.paradigms.graph.ranking import recalls
from umbel.randomness import numpy_generator
from umbel.rounds import evaluation

FILMS = 20
RATERS = 10


def links(setting: Setting) -> list[str]:
    """Cora's edges, a tenth held out, in one place and over five Louvain communities."""
    for clients in (1, 5):
        found = []
        for seed in setting.over(3):
            told = nodes(
                unsplit(setting, "cora"),
                seed,
                20,
                data={
                    "clients": clients,
                    "held_out": 0.1,
                    "partition": "louvain" if clients > 1 else "iid",
                },
                model={"name": "gcn", "hidden": 32, "drop": 0.0},
                paradigm={"name": "links"},
                client={"steps": 10, "optimizer": {"name": "adam", "lr": 0.01}},
            )
            result = kept_run(told, setting.out / f"links-{clients}-{seed}")
            found.append(100 * float(evaluation(result.records[-1], "federated", "auc") or 0.0))
        print(f"cora, links, {clients} client{'s'[: clients - 1]}: {shown(found)} AUC", flush=True)
    return []


def movielens(setting: Setting) -> list[str]:
    """One layer of GraphSAGE, where a user is the mean of their films; fails where it is not above
    the films' popularity."""
    found: dict[str, list[float]] = {"popularity": [], "ten clients": [], "one place": []}
    for seed in setting.over(3):
        told = ratings(RATERS, seed)
        found["popularity"].append(popularity(told))
        for who, clients in (("ten clients", RATERS), ("one place", 1)):
            folder = setting.out / f"movielens-{clients}-{seed}"
            result = kept_run(ratings(clients, seed), folder)
            share = evaluation(result.records[-1], "federated", f"recall_at_{FILMS}")
            found[who].append(100 * float(share or 0.0))
    told_of = "; ".join(f"{who} {shown(values)}" for who, values in found.items())
    print(f"movielens, recall@{FILMS}: {told_of}", flush=True)
    least = max(found["popularity"])
    return [
        f"movielens: {who} {shown(found[who])} is not above popularity"
        for who in ("ten clients", "one place")
        if min(found[who]) <= least
    ]


def ratings(clients: int, seed: int) -> Experiment:
    """As many steps in one place as at each client: 60 of Adam, over all its ratings at once."""
    return Experiment(
        experiment={"name": "movielens", "rounds": 20, "seed": seed},
        data={
            "source": "movielens",
            "clients": clients,
            "held_out": 0.2,
            "partition": {"name": "bipartite", "shared": "film"},
        },
        model={"name": "graphsage", "layers": 1, "hidden": 64, "drop": 0.0},
        paradigm={"name": "links", "rank": "film", "at": FILMS},
        client={"steps": 3, "batch_size": 0, "optimizer": {"name": "adam", "lr": 0.05}},
        evaluation={"every": 20, "central": False},
    )


def popularity(told: Experiment) -> float:
    """The recall in percent where films are ranked by all clients' ratings in training."""
    paradigm, shards = build_paradigm(told), make_shards(told)
    held = []
    for k in range(told.data.clients):
        own = shards.shard(k)
        generator = numpy_generator(told.experiment.seed, purpose="held-out", client=own.client)
        held.append(paradigm.prepare(paradigm.divide(own, told.data.held_out, generator)[1]))
    # The films of all clients are the same, in the same order.
    counts = sum(p["edges"][1].bincount(minlength=len(p["x"]))[p[RANKED]] for p in held)
    shares = []
    for prepared in held:
        scores = torch.ones(len(prepared["x"]), 1)
        scores[prepared[RANKED], 0] = counts.float()
        shares.append(recalls(scores, prepared[RANKED], prepared["edges"], prepared[PAIRS], FILMS))
    return 100 * float(torch.cat(shares).double().mean())
