"""What a server does with examples of its own: score models, and train one as a client would."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from torch import nn

from ..data.shard import Shard
from ..errors import UmbelError
from ..paradigms.at_server import at_server
from ..paradigms.base import (
    Descends,
    Paradigm,
    ScalesRates,
    Unfreezes,
    UpdatesLocally,
    prepare_training,
)
from ..randomness import torch_generator, torch_seeded
from ..strategies.local_parts import LocalRun, Plain
from ..tensors import Tensors
from ..training.rates import Optimizers
from ..training.threads import one_thread
from ..training.trainer import Effort, Trainer
from .evaluation import means

if TYPE_CHECKING:
    from ..experiment import Experiment


class OwnExamples:
    """The server's examples next to the experiment's paradigm and model (a `ServerSide`).

    `model` is only lent: each call puts the weights into it that it needs.
    """

    def __init__(
        self, experiment: Experiment, paradigm: Paradigm, model: nn.Module, shard: Shard
    ) -> None:
        self._seed = experiment.experiment.seed
        self._paradigm, self._model = paradigm, model
        self._prepared = prepare_training(paradigm, shard)
        self._first = {name: value.clone() for name, value in model.state_dict().items()}
        client = experiment.client
        effort = Effort(client.epochs, client.steps, client.batch_size, client.clip_norm)
        descent = paradigm.descent(model) if isinstance(paradigm, Descends) else None
        self._trainer = Trainer(at_server(paradigm), Plain(), effort, descent)
        rates = paradigm.rates(model) if isinstance(paradigm, ScalesRates) else {}
        self._optimizers = Optimizers(client, rates)

    def score(self, model: Tensors) -> Mapping[str, float]:
        """Mean metrics of a model on the server's examples; tensors that it lacks, for they
        stay at the clients, are as at the start."""
        self._load(model)
        self._model.eval()
        with one_thread():
            return means(self._paradigm.evaluate(self._model, self._prepared))

    def train(self, model: Tensors, round: int) -> Tensors:
        """What the tensors of `model` become in a round of a client's training, without what a
        strategy adds to it, by the paradigm as it is `at_server`. Raises UmbelError for one that
        does not train by descent."""
        if isinstance(self._paradigm, UpdatesLocally):
            raise UmbelError("this paradigm does not train by descent, so the server cannot")
        if isinstance(self._paradigm, Unfreezes):
            self._paradigm.enter(self._model, round)
        self._load(model)
        optimizer, rate = self._optimizers.make(self._model, round)
        run = LocalRun(self._model, model, {}, {}, round, self._prepared, rate)
        generator = torch_generator(self._seed, purpose="server's training", round=round)
        with one_thread(), torch_seeded(self._seed, purpose="server's torch", round=round):
            self._trainer.train(self._prepared, run, optimizer, None, generator)
        trained = self._model.state_dict()
        return {name: trained[name].clone() for name in model}

    def _load(self, model: Tensors) -> None:
        self._model.load_state_dict({**self._first, **model})
