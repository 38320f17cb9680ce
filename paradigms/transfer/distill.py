"""Knowledge that transfers without weights: a small model learns from what a large one makes of a
client's own examples.

The teacher stays as it is. A client that lacks it gets it once (`server.rest`); it travels in no
round, and is not in the run's model.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, kl_div, log_softmax, normalize, smooth_l1_loss

from ...data.learnable import LABELLED
from ...data.shard import Shard
from ...errors import BadInput
from ...schema import Schema
from ..base import Batch, MetricSums, Prepared
from ..batches import shuffled
from ..helpers import add_helper
from ..supervised import EVALUATION_BATCH, Supervised

TEACHER = "teacher."
"""How the names of the teacher's tensors begin."""

TAUGHT = "taught"
"""What a prepared shard calls what the teacher makes of the examples."""


class Models(Protocol):
    """Makes the model, and the one that it learns from."""

    def __call__(self, schema: Schema) -> nn.Module: ...

    def teacher(self, schema: Schema, *, whole: bool) -> nn.Module: ...


class _Taught:
    """A model, trained on the labels and on what a teacher makes of the same examples.

    Args:
        models: makes both.
        whole: whether the teacher must have been trained for the same classes.
        look: what is to be learnt of the teacher, given it and some inputs.
    """

    def __init__(
        self, models: Models, *, whole: bool, look: Callable[[Any, Tensor], Tensor]
    ) -> None:
        self._models, self._whole, self._look = models, whole, look
        self._supervised = Supervised(models)
        self._teacher: nn.Module | None = None

    def build(self, schema: Schema) -> nn.Module:
        model = self._supervised.build(schema)
        teacher = self._models.teacher(schema, whole=self._whole).requires_grad_(False)
        add_helper(model, TEACHER.removesuffix("."), teacher, "a teacher")
        self._teacher = teacher
        return model

    def travels(self, model: nn.Module) -> Collection[str]:
        return [name for name in model.state_dict() if not self.is_helper(name)]

    def is_helper(self, name: str) -> bool:
        return name.startswith(TEACHER)

    def prepare(self, shard: Shard) -> Prepared:
        """With what the teacher makes of each example, once and for all rounds."""
        prepared = self._supervised.prepare(shard)
        if self._teacher is None:
            raise RuntimeError("a shard is prepared after the model is built")
        if not len(prepared["y"]):
            return prepared
        inputs = _inputs_of(self._teacher, shard, prepared)
        self._teacher.eval()
        with torch.no_grad():
            parts = [self._look(self._teacher, x) for x in inputs.split(EVALUATION_BATCH)]
        return {**prepared, TAUGHT: torch.cat(parts)}

    def batches(
        self, prepared: Prepared, batch_size: int, generator: torch.Generator
    ) -> Iterator[Batch]:
        for rows in shuffled(len(prepared["y"]), batch_size, generator):
            yield {name: values.index_select(0, rows) for name, values in prepared.items()}

    def evaluate(self, model: nn.Module, prepared: Prepared) -> MetricSums:
        return self._supervised.evaluate(model, prepared)

    def predictions(
        self, model: nn.Module, prepared: Prepared, training: Prepared | None
    ) -> tuple[Tensor, Tensor]:
        return self._supervised.predictions(model, prepared, training)


class Distill:
    """Distillation: the loss is `(1 - share) CE(y, s) + share T^2 KL(p(t) || p(s))` for the
    student's scores s and the teacher's t, where `p(z) = softmax(z / T)`.

    Paper: Hinton, Vinyals and Dean 2015, Distilling the Knowledge in a Neural Network,
    arXiv 1503.02531, section 2.

    Args:
        temperature: T, > 0.
        share: of the teacher's part, in [0, 1].
    """

    transfers: ClassVar[bool] = True
    learns_from: ClassVar[str] = LABELLED

    def __init__(self, models: Models, *, temperature: float = 4.0, share: float = 0.5) -> None:
        if not temperature > 0:
            raise ValueError(f"temperature: {temperature:g} is not above 0")
        if not 0 <= share <= 1:
            raise ValueError(f"share: {share:g} is not in [0, 1]")
        self._temperature, self._share = temperature, share
        self._taught = _Taught(models, whole=True, look=lambda teacher, x: teacher(x))
        self.build, self.travels = self._taught.build, self._taught.travels
        self.prepare, self.batches = self._taught.prepare, self._taught.batches
        self.evaluate, self.is_helper = self._taught.evaluate, self._taught.is_helper
        self.predictions = self._taught.predictions

    def loss(self, model: nn.Module, batch: Batch, generator: torch.Generator) -> Tensor:
        scores = model(batch["x"])
        t = self._temperature
        told, said = log_softmax(batch[TAUGHT] / t, 1), log_softmax(scores / t, 1)
        far = kl_div(said, told, reduction="batchmean", log_target=True)
        own = cross_entropy(scores, batch["y"])
        return (1 - self._share) * own + self._share * t * t * far


class Relations:
    """Relational distillation: the student's features lie to one another as the teacher's do. Its
    loss is `CE + distances L_D + angles L_A`, of Huber losses between the two models' distances of
    pairs, over their mean, and between their angles of triplets.

    Paper: Park, Kim, Lu and Cho 2019, Relational Knowledge Distillation, arXiv 1904.05068,
    equations 5 to 9.

    Args:
        distances: the weight of L_D, >= 0.
        angles: the weight of L_A, >= 0.
    """

    transfers: ClassVar[bool] = True
    learns_from: ClassVar[str] = LABELLED

    def __init__(self, models: Models, *, distances: float = 25.0, angles: float = 50.0) -> None:
        for name, weight in (("distances", distances), ("angles", angles)):
            if not weight >= 0:
                raise ValueError(f"{name}: {weight:g} is below 0")
        self._distances, self._angles = distances, angles
        self._taught = _Taught(
            models, whole=False, look=lambda teacher, x: _features(teacher, x, "teacher")
        )
        self.build, self.travels = self._taught.build, self._taught.travels
        self.prepare, self.batches = self._taught.prepare, self._taught.batches
        self.evaluate, self.is_helper = self._taught.evaluate, self._taught.is_helper
        self.predictions = self._taught.predictions

    def loss(self, model: Any, batch: Batch, generator: torch.Generator) -> Tensor:
        features = _features(model, batch["x"], "model")
        own = cross_entropy(model.head(features), batch["y"])
        theirs = batch[TAUGHT]
        far = smooth_l1_loss(_distances(features), _distances(theirs))
        turned = smooth_l1_loss(_angles(features), _angles(theirs))
        return own + self._distances * far + self._angles * turned


def _features(model: Any, inputs: Tensor, key: str) -> Tensor:
    if not hasattr(model, "features") or not hasattr(model, "head"):
        raise BadInput(f"{key}: the model has no method `features` and no `head`")
    made: Tensor = model.features(inputs)
    return made


def _inputs_of(teacher: Any, shard: Shard, prepared: Mapping[str, Tensor]) -> Tensor:
    """The examples as the teacher takes them: a reader of texts has a tokenizer of its own."""
    if getattr(teacher, "encode", None) is None:
        return prepared["x"]
    labelled = shard.arrays["y"] >= 0
    made: Tensor = teacher.encode(shard.arrays["x"][labelled])
    return made


def _distances(features: Tensor) -> Tensor:
    """Distances of all pairs (n, n) over the mean of those that are not 0; equation 5."""
    square = (features.unsqueeze(0) - features.unsqueeze(1)).square().sum(dim=2)
    # The root has no gradient at 0, where a point is compared to itself.
    far = square.clamp(min=1e-12).sqrt() * (square > 0)
    return far / far[far > 0].mean() if bool((far > 0).any()) else far


def _angles(features: Tensor) -> Tensor:
    """The cosine of the angle at the second of each three points (n, n, n); equation 8."""
    ways = normalize(features.unsqueeze(0) - features.unsqueeze(1), dim=2)
    return torch.bmm(ways, ways.transpose(1, 2))
