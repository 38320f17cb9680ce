"""Flower's own strategies, and any subclass of them, inside umbel's round loop.

The strategy chooses its nodes, and gets the replies as Flower messages in the order of the
cohort. Its draws from Python's global generator are seeded for the call, so that a run can
be repeated.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, cast

import numpy as np
import torch
from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Strategy as FlowerStrategy
from torch import nn

from ..errors import UmbelError
from ..randomness import derive_seed
from ..strategies.parts import ServerSide, Update
from ..tensors import Tensors
from .drivers import Cohort, Sender

FLOWER_DTYPES = frozenset(
    {torch.float16, torch.float32, torch.float64, torch.int64, torch.int32, torch.uint8, torch.bool}
)


class _Nodes(Grid):
    """The population as a grid: all that a strategy may do with it is count and sample."""

    def __init__(self, nodes: Sequence[int]) -> None:
        self._nodes = nodes

    def get_node_ids(self) -> Sequence[int]:
        return self._nodes

    def _refuse(self, *_: Any, **__: Any) -> Any:
        raise UmbelError("a strategy may not send messages of its own inside umbel's round loop")

    set_run = run = create_message = get_nodes = push_messages = pull_messages = _refuse  # type: ignore[assignment]
    send_and_receive = _refuse


class Stock:
    """Drives a strategy of Flower's; the cohort's updates are held until the round ends."""

    streams = False
    at_client = False
    asks_server = False
    takes_more = False

    def __init__(self, strategy: FlowerStrategy, seed: int) -> None:
        self._strategy = strategy
        self._seed = seed
        self._model: Tensors = {}
        self._requests: dict[int, Message] = {}
        self._replies: list[Message] = []

    def meet(self, model: nn.Module, server: ServerSide | None) -> None:
        return

    def add(self, tensors: Tensors) -> None:
        raise UmbelError("a strategy of Flower's takes the same tensors in every round")

    def expected(self, model: Tensors) -> tuple[Tensors, Tensors]:
        return model, {}

    def keeps(self, names: Sequence[str]) -> frozenset[str]:
        return frozenset()

    def select(self, round: int, attempt: int, nodes: Sequence[int], model: Tensors) -> Cohort:
        arrays = ArrayRecord(cast("Any", _as_flower(model)))
        config = ConfigRecord()
        with _seeded(self._seed, round, f"flower, attempt {attempt}"):
            messages = list(self._strategy.configure_train(round, arrays, config, _Nodes(nodes)))
        self._requests = {message.metadata.dst_node_id: message for message in messages}
        positions = {node: position for position, node in enumerate(nodes)}
        told: dict[str, Any] = {}
        for message in messages:
            for record in message.content.config_records.values():
                told.update({k: v for k, v in record.items() if not isinstance(v, bytes)})
        return Cohort(sorted(positions[node] for node in self._requests), config=told)

    def models(self, model: Tensors, clients: Sequence[str]) -> list[tuple[Tensors, list[str]]]:
        return [(model, list(clients))]

    def begin(self, round: int, model: Tensors) -> None:
        self._model = model
        self._replies = []

    def fold(self, update: Update, sender: Sender) -> Update:
        metrics: dict[str, Any] = {"num-examples": update.examples}
        seen = update.metrics.get("examples") or 1.0
        metrics["train_loss"] = update.metrics.get("loss", 0.0) / seen
        content = RecordDict(
            {
                "arrays": ArrayRecord(cast("Any", _as_flower(update.tensors))),
                "metrics": MetricRecord(metrics),
            }
        )
        self._replies.append(Message(content, reply_to=self._requests[sender.node]))
        return update

    def lacks(self, updates: int) -> str:
        return ""

    def finish(self, round: int) -> Tensors:
        with _seeded(self._seed, round, "flower, aggregate"):
            arrays, _ = self._strategy.aggregate_train(round, self._replies)
        self._replies = []
        if arrays is None:
            raise UmbelError(f"round {round}: {type(self._strategy).__name__} gave no model back")
        combined = {
            name: torch.from_numpy(np.array(array.numpy())).to(self._model[name].dtype)
            for name, array in arrays.items()
        }
        return {**self._model, **combined}

    def save(self) -> tuple[Tensors, dict[str, Any]]:
        tensors: Tensors = {}
        facts: dict[str, Any] = {}
        for name, value in vars(self._strategy).items():
            if isinstance(value, int | float | str | None):
                facts[name] = value
            elif isinstance(value, ArrayRecord):
                facts[name] = {"kind": "ArrayRecord"}
                tensors.update(_named(name, {k: v.numpy() for k, v in value.items()}))
            elif isinstance(value, dict) and _is_arrays(value):
                facts[name] = {"kind": "dict"}
                tensors.update(_named(name, value))
        return tensors, facts

    def restore(self, tensors: Tensors, facts: Mapping[str, Any]) -> None:
        for name, value in facts.items():
            if not isinstance(value, dict):
                setattr(self._strategy, name, value)
                continue
            own = {
                key.partition("/")[2]: tensor.numpy()
                for key, tensor in tensors.items()
                if key.partition("/")[0] == name
            }
            record = ArrayRecord(cast("Any", {k: torch.from_numpy(v) for k, v in own.items()}))
            setattr(self._strategy, name, record if value["kind"] == "ArrayRecord" else own)


def _as_flower(tensors: Tensors) -> Tensors:
    for name, tensor in tensors.items():
        if tensor.dtype not in FLOWER_DTYPES:
            raise UmbelError(
                f"tensor {name!r} is {tensor.dtype}, which Flower's strategies cannot hold; "
                "use one of umbel's own (umbel list strategies)"
            )
    return tensors


def _is_arrays(value: dict[Any, Any]) -> bool:
    return bool(value) and all(isinstance(array, np.ndarray) for array in value.values())


def _named(name: str, arrays: Mapping[str, Any]) -> Tensors:
    return {f"{name}/{key}": torch.from_numpy(np.array(a)) for key, a in arrays.items()}


@contextmanager
def _seeded(seed: int, round: int, purpose: str) -> Iterator[None]:
    """Flower's strategies draw from the process's global generators; lend them seeded ones."""
    python, numpy = random.getstate(), np.random.get_state()
    value = derive_seed(seed, purpose=purpose, round=round)
    random.seed(value)
    np.random.seed(value % 2**32)
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
