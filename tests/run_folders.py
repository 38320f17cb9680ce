"""Run folders made up for tests: what a run of any size would have left behind."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

HOSTILE = "<script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">"


def make_record(round: int, names: Sequence[str], failing: str = "") -> dict[str, Any]:
    """One round of a run that learns: every name takes part, `failing` does not come through."""
    draw = random.Random(round)
    loss = 2.2 / (1 + 0.3 * round) + 0.05
    entries = [
        {
            "client": name,
            "examples": 40 + 17 * (index % 7),
            "loss": loss * draw.uniform(0.7, 1.4),
            "seconds": draw.uniform(0.02, 0.09),
            "status": "ok",
            "reason": "",
        }
        for index, name in enumerate(names)
        if name != failing
    ]
    reason = f"weight of layer 1 is not finite {HOSTILE}"
    failures = [{"client": failing, "status": "refused", "reason": reason}] if failing else []
    phases = {"select": 0.001, "train": 0.4, "evaluate": 0.1, "combine": 0.02, "checkpoint": 0.01}
    return {
        "round": round,
        "loss": loss,
        "metrics": {
            "federated": {"accuracy": 1 - loss / 3, "loss": loss},
            "central": {"accuracy": 0.99 - loss / 3, "loss": loss * 1.05},
            "train": {"accuracy": 1 - loss / 3.2, "loss": loss * 0.9},
        },
        "clients": entries,
        "failures": failures,
        "bytes_up": 35_000 * len(entries),
        "bytes_down": 35_000 * len(names),
        "seconds": {**phases, "total": sum(phases.values())},
    }


def make_run(
    folder: Path, *, clients: int = 3, rounds: int = 5, hostile: bool = False, model: bool = True
) -> Path:
    """Write a run folder; one of its clients has a name that is an attack, if `hostile`."""
    folder.mkdir(parents=True, exist_ok=True)
    names = [f"client-{index}" for index in range(clients)]
    if hostile:
        names[-1] = HOSTILE
    records = [
        make_record(round, names, names[-1] if round % 4 == 2 else "")
        for round in range(1, rounds + 1)
    ]
    write_records(folder, records)
    (folder / "experiment.toml").write_text(
        f'[experiment]\nname = "digits"\nrounds = {rounds}\nseed = 7\n\n'
        f'[data]\nsource = "digits"\nclients = {clients}\n'
        'partition = { name = "dirichlet", alpha = 0.3 }\n\n'
        '[model]\nname = "mlp"\n\n[paradigm]\nname = "supervised"\n\n[strategy]\nname = "fedavg"\n'
    )
    environment = {
        "run": "1c0ffee",
        "runtime": "up",
        "threads": 1,
        "versions": {"umbel": "0.1.0", "torch": "2.13.0", "flwr": "1.41.0", "python": "3.11.2"},
        "travels": [
            {"name": "0.weight", "shape": [128, 64], "dtype": "float32"},
            {"name": "0.bias", "shape": [128], "dtype": "float32"},
        ],
    }
    (folder / "environment.json").write_text(json.dumps(environment))
    if model:
        save_file({"bias": torch.arange(3.0)}, folder / "model.safetensors")
    return folder


def write_confusion(folder: Path, names: Sequence[str], classes: int) -> None:
    """Write confusion.json; of the classes, one has a name that is an attack, and of one there are
    no examples."""
    draw = random.Random(classes)
    rows = []
    for name in names:
        pairs = {(k, k): draw.randint(5, 60) for k in range(1, classes)}
        pairs |= {(k, draw.randrange(k)): draw.randint(1, 9) for k in range(1, classes)}
        counts = [[*pair, count] for pair, count in sorted(pairs.items())]
        examples = sum(pairs.values())
        rows.append({"client": name, "examples": examples, "counts": counts})
    told = {"classes": [*(f"class {k}" for k in range(classes - 1)), HOSTILE], "clients": rows}
    (folder / "confusion.json").write_text(json.dumps(told | {"failures": []}))


def write_embeddings(folder: Path, classes: int) -> None:
    """Write embeddings.json; a class has a name that is an attack."""
    draw = random.Random(classes)
    truth = [draw.randrange(classes) for _ in range(200)]
    told = {
        "classes": [HOSTILE, *(f"class {k}" for k in range(1, classes))],
        "points": [[draw.gauss(code, 1.0), draw.gauss(-code, 1.0)] for code in truth],
        "truth": truth,
        "told": [draw.choice([code, 0]) for code in truth],
        **{"explained": [0.5, 0.25], "width": 16, "examples": 300},
    }
    (folder / "embeddings.json").write_text(json.dumps(told))


def write_subgraphs(folder: Path, names: Sequence[str], classes: int) -> None:
    """Write subgraphs.json; a class has a name that is an attack, and the last client tells none."""
    draw = random.Random(classes)
    rows = []
    for name in names:
        edges = sorted({(k, draw.randrange(k + 1, 40)) for k in range(39) for _ in range(2)})
        codes = [draw.randrange(-1, classes) for _ in range(40)] if name != names[-1] else None
        row = {"client": name, "examples": 90, "links": 300, "nodes": [40], "codes": codes}
        rows.append({**row, "edges": edges})
    told = {"of": "nodes", "classes": [HOSTILE, *(f"class {k}" for k in range(1, classes))]}
    (folder / "subgraphs.json").write_text(json.dumps(told | {"clients": rows, "failures": []}))


def write_records(folder: Path, records: Sequence[dict[str, Any]]) -> None:
    """Write metrics.jsonl as the server does, one line a round."""
    lines = "".join(json.dumps(record) + "\n" for record in records)
    (folder / "metrics.jsonl").write_text(lines)
