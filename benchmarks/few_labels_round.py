"""A client's round with few labels, in umbel and in a bare PyTorch loop of the same method.

LeNet on 28x28 images, 40 of 2,840 with a label; one epoch of 40 batches, each of 10 labelled
examples and 70 others. umbel's time is that of the whole answer to a server's message: reading it,
training, and packing the update. The bare loop has the same first weights, batches and changes to
examples, and torch's own SGD; that both end at the same weights is checked. The two take turns,
in one thread.

    python benchmarks/few_labels_round.py [--repeats 15] [--json]

Prints medians and the ratio, which is the median of those of the turns; exits with 1 where one is
above 1.15.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

import numpy as np
import torch
from flwr.app import Context, Message, RecordDict
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from umbel.building import build_model, build_paradigm
from umbel.client.app import make_client_app
from umbel.data.shard import UNLABELLED, Shard
from umbel.experiment import Experiment
from umbel.flower_internals import assume_identity
from umbel.messages import Envelope
from umbel.paradigms.semi_supervised.pictures import Pictures
from umbel.randomness import torch_generator
from umbel.schema import Schema

MOST = 1.15
LABELLED, OTHERS, BATCH, RATIO, RATE, SEED = 40, 2800, 10, 7, 0.03, 3
SCHEMA = Schema("classification", (28, 28), "uint8", tuple("0123456789"))
METHODS = {
    "fixmatch": {"name": "fixmatch", "threshold": 0.15},
    "pseudo-label": {"name": "pseudo-label", "ratio": RATIO, "threshold": 0.12, "ramp": 0},
    "mean-teacher": {"name": "mean-teacher", "ratio": RATIO, "ramp": 0},
}

Loss = Callable[[nn.Module, nn.Module, Tensor, Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Row:
    """Median seconds of a round, and their ratio."""

    method: str
    umbel: float
    bare: float
    ratio: float


def shard() -> Shard:
    draws = np.random.default_rng(SEED)
    labels = draws.integers(0, 10, LABELLED + OTHERS)
    # A bright bar whose place says the class: something to learn.
    images = draws.integers(0, 80, (len(labels), 28, 28)).astype(np.uint8)
    for image, label in zip(images, labels, strict=True):
        image[4 + 2 * label : 7 + 2 * label] += 120
    labels[LABELLED:] = UNLABELLED
    return Shard("client-0", SCHEMA, {"x": images, "y": labels.astype(np.int64)})


def experiment(method: str) -> Experiment:
    return Experiment(
        experiment={"seed": SEED},
        data={"held_out": 0.0},
        model={"name": "lenet"},
        paradigm=METHODS[method],
        client={"batch_size": BATCH, "optimizer": {"name": "sgd", "lr": RATE}},
    )


def fixmatch(generator: torch.Generator) -> Loss:
    pictures = Pictures()

    def loss(model: nn.Module, _: nn.Module, x: Tensor, y: Tensor, u: Tensor) -> Tensor:
        x = pictures.weak(x, generator)
        weak, strong = pictures.weak(u, generator), pictures.strong(u, generator)
        logits = model(torch.cat([x, strong]))
        with torch.no_grad():
            top, labels = model(weak).softmax(dim=1).max(dim=1)
        apart = cross_entropy(logits[len(x) :], labels, reduction="none")
        return cross_entropy(logits[: len(x)], y) + (apart * (top >= 0.15)).mean()

    return loss


def pseudo_label(generator: torch.Generator) -> Loss:
    def loss(model: nn.Module, _: nn.Module, x: Tensor, y: Tensor, u: Tensor) -> Tensor:
        logits = model(torch.cat([x, u]))
        ours = logits[len(x) :]
        top, labels = ours.detach().softmax(dim=1).max(dim=1)
        apart = cross_entropy(ours, labels, reduction="none")
        return cross_entropy(logits[: len(x)], y) + (apart * (top >= 0.12)).mean()

    return loss


def mean_teacher(generator: torch.Generator) -> Loss:
    pictures, steps = Pictures(), iter(range(1_000_000))

    def loss(model: nn.Module, teacher: nn.Module, x: Tensor, y: Tensor, u: Tensor) -> Tensor:
        if step := next(steps):
            with torch.no_grad():
                for own, new in zip(teacher.parameters(), model.parameters(), strict=True):
                    own.lerp_(new, max(0.01, 1 / step))
        both = torch.cat([x, u])
        logits = model(pictures.weak(both, generator))
        with torch.no_grad():
            said = teacher(pictures.weak(both, generator)).softmax(dim=1)
        apart = (logits.softmax(dim=1) - said).square().mean()
        return cross_entropy(logits[: len(x)], y) + 10.0 * apart

    return loss


BARE = {"fixmatch": fixmatch, "pseudo-label": pseudo_label, "mean-teacher": mean_teacher}


def batches(generator: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
    labelled, others = torch.arange(LABELLED), torch.arange(LABELLED, LABELLED + OTHERS)
    left = labelled[:0]
    for rows in others[torch.randperm(OTHERS, generator=generator)].split(RATIO * BATCH):
        while len(left) < BATCH:
            left = torch.cat([left, labelled[torch.randperm(LABELLED, generator=generator)]])
        yield left[:BATCH], rows
        left = left[BATCH:]


class Bare:
    """The loop that one would write without umbel, on tensors that are there already."""

    def __init__(self, method: str, first: dict[str, Tensor]) -> None:
        self._method, self._first = method, first
        told = Experiment(data={"held_out": 0.0}, model={"name": "lenet"})
        self.model, self._teacher = (
            build_model(build_paradigm(told), told, SCHEMA) for _ in range(2)
        )
        arrays = shard().arrays
        self._x = torch.from_numpy(arrays["x"]).unsqueeze(1).float() / 255
        self._y = torch.from_numpy(arrays["y"])

    def round(self) -> None:
        for model in (self.model, self._teacher):
            model.load_state_dict(self._first)
            model.train()
        generator = torch_generator(SEED, purpose="train", round=1, client="client-0")
        loss_of = BARE[self._method](generator)
        optimizer = torch.optim.SGD(self.model.parameters(), lr=RATE)
        for labelled, others in batches(generator):
            x, y, u = self._x[labelled], self._y[labelled], self._x[others]
            loss = loss_of(self.model, self._teacher, x, y, u)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()


class Umbel:
    """A client of umbel's, asked for round 1 as a server asks."""

    def __init__(self, method: str, folder: Path) -> None:
        told = experiment(method)
        self._app = make_client_app(lambda _: shard(), state_folder=lambda _: folder)
        built = build_model(build_paradigm(told), told, SCHEMA)
        self.first = {name: value.clone() for name, value in built.state_dict().items()}
        header = {"run": "r", "strategy": "fedavg", "round": 1, "config": {}}
        header["experiment"] = told.to_json()
        self._record = Envelope(header, {"model": self.first}).to_record()
        self.update: dict[str, Tensor] = {}

    def round(self) -> None:
        assume_identity(1, 7)
        message = Message(self._record, dst_node_id=7, message_type="train", group_id="1")
        reply = self._app(message, Context(1, 7, {}, RecordDict(), {}))
        self.update = Envelope.from_record(reply.content).groups["update"]


def timed(play: Callable[[], None]) -> float:
    began = time.perf_counter()
    play()
    return time.perf_counter() - began


def measure(method: str, repeats: int, folder: Path) -> Row:
    mine = Umbel(method, folder)
    plain = {n: v for n, v in mine.first.items() if not n.startswith("teacher.")}
    bare = Bare(method, plain)
    mine.round(), bare.round()
    for name, value in bare.model.state_dict().items():
        # Two orders of the same sums: equal but for rounding.
        torch.testing.assert_close(mine.update[name], value, rtol=1e-3, atol=1e-5)
    turns = []
    for turn in range(repeats):
        ways = (mine.round, bare.round) if turn % 2 else (bare.round, mine.round)
        seconds = {way: timed(way) for way in ways}
        turns.append((seconds[mine.round], seconds[bare.round]))
    ours, theirs = (median(column) for column in zip(*turns, strict=True))
    return Row(method, ours, theirs, median(a / b for a, b in turns))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for method in METHODS:
        with tempfile.TemporaryDirectory(prefix="umbel-few-labels-") as folder:
            rows.append(measure(method, given.repeats, Path(folder)))
        row = rows[-1]
        if not given.json:
            times = f"{1000 * row.umbel:.0f} ms, bare {1000 * row.bare:.0f} ms"
            print(f"{row.method}: {times}, ratio {row.ratio:.3f}", flush=True)
    if given.json:
        print(json.dumps([asdict(row) for row in rows]))
    return 1 if any(row.ratio > MOST for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
