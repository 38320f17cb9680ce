"""Features kept close to the common model's, and away from the client's last ones."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity, softplus
from torch.utils.hooks import RemovableHandle

from ..errors import UmbelError
from ..tensors import Tensors
from .hyper import Hyper, at, check_hyper
from .local_parts import LocalRun, Plain
from .output_layer import output_layer

Inputs: TypeAlias = tuple[tuple[Any, ...], dict[str, Any]]
"""What a model was called with."""


@dataclass
class Watched:
    """A model whose features are looked at: what its output layer last got."""

    model: nn.Module
    features: Tensor | None = None
    handles: list[RemovableHandle] = field(default_factory=list)

    @classmethod
    def of(cls, model: nn.Module) -> Watched:
        watched = cls(model)
        layer = output_layer(model)[1]
        watched.handles.append(layer.register_forward_pre_hook(watched._note))
        return watched

    @torch.no_grad()
    def __call__(self, inputs: Inputs) -> Tensor:
        """The features of the inputs of another model's call."""
        self.features = None
        self.model(*inputs[0], **inputs[1])
        return _seen(self.features)

    def _note(self, module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        self.features = inputs[0]


@dataclass
class Passes:
    """What a model in training is called with in a step, and the features that it makes of it.

    A step may ask a model several times. What it asks without gradients, as which pseudo-labels to
    learn, is no part of what it learns from; of all other examples the features count.
    """

    inputs: list[Inputs] = field(default_factory=list)
    features: list[Tensor | None] = field(default_factory=list)
    handles: list[RemovableHandle] = field(default_factory=list)

    @classmethod
    def of(cls, model: nn.Module) -> Passes:
        passes = cls()
        layer = output_layer(model)[1]
        passes.handles = [
            model.register_forward_pre_hook(passes._begin, with_kwargs=True),
            layer.register_forward_pre_hook(passes._note),
        ]
        return passes

    def take(self) -> list[tuple[Inputs, Tensor]]:
        """Those since it was last asked, which it forgets."""
        seen = [(inputs, _seen(z)) for inputs, z in zip(self.inputs, self.features, strict=True)]
        self.inputs, self.features = [], []
        return seen

    def _begin(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if torch.is_grad_enabled():
            self.inputs.append((args, kwargs))
            self.features.append(None)

    def _note(self, module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        if torch.is_grad_enabled() and self.features:
            self.features[-1] = inputs[0]


def _seen(features: Tensor | None) -> Tensor:
    if features is None:
        raise UmbelError("the paradigm did not ask the model's output layer for this batch")
    return features.flatten(1)


@dataclass
class _Contrast:
    """One client's round."""

    mu: float
    own: Passes
    common: Watched
    last: Watched


@dataclass(frozen=True)
class Contrastive(Plain):
    """MOON's term: `mu * l_con` is added to the loss, where
    `l_con = -log(e^{sim(z, z_glob)/tau} / (e^{sim(z, z_glob)/tau} + e^{sim(z, z_prev)/tau}))`.

    z are the features of a batch (what the model's output layer gets), `z_glob` those of the
    model that was received and `z_prev` those of the client's own after its last round; sim is
    the cosine, and the mean is over the batch: where a step asks the model more than once, over
    all examples that it learns from. In a client's first round the two are the same model, and
    the term, a constant, is left out.

    Paper: Li, He and Song 2021, Model-Contrastive Federated Learning, arXiv 2103.16257,
    equation 3. There z comes from a projection head between features and output layer, which is
    the model's business here.
    """

    mu: Hyper = 1.0
    tau: float = 0.5

    def __post_init__(self) -> None:
        check_hyper("mu", self.mu, least=0.0)
        check_hyper("tau", self.tau, above=0.0)

    def begin(self, run: LocalRun) -> _Contrast | None:
        output_layer(run.model)  # Raises for a model without one, in a first round, too.
        mu = at(self.mu, run.round)
        if not run.state or not mu:
            return None
        common, last = (copy.deepcopy(run.model).eval() for _ in range(2))
        last.load_state_dict(run.state)
        return _Contrast(mu, Passes.of(run.model), Watched.of(common), Watched.of(last))

    def loss(self, memo: _Contrast | None, run: LocalRun, loss: Tensor) -> Tensor:
        if memo is None:
            return loss
        seen = memo.own.take()
        if not seen:
            raise UmbelError("MOON needs a paradigm that calls the model on its batches")
        terms = []
        for inputs, own in seen:
            near = cosine_similarity(own, memo.common(inputs), dim=1)
            far = cosine_similarity(own, memo.last(inputs), dim=1)
            # -log(e^a / (e^a + e^b)) = softplus(b - a), which does not overflow.
            terms.append(softplus((far - near) / self.tau))
        return loss + memo.mu * torch.cat(terms).mean()

    def finish(self, memo: _Contrast | None, run: LocalRun, steps: int) -> tuple[Tensors, Tensors]:
        return {}, {name: value.detach().clone() for name, value in run.model.state_dict().items()}

    def release(self, memo: _Contrast | None) -> None:
        for handle in memo.own.handles if memo else ():
            handle.remove()
