"""Features kept close to the common model's, and away from the client's last ones."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity, softplus
from torch.utils.hooks import RemovableHandle

from ..errors import UmbelError
from ..tensors import Tensors
from .hyper import Hyper, at, check_hyper
from .local_parts import LocalRun, Plain
from .output_layer import output_layer


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
    def __call__(self, inputs: tuple[tuple[Any, ...], dict[str, Any]]) -> Tensor:
        """The features of the inputs of another model's call."""
        self.model(*inputs[0], **inputs[1])
        return self.seen()

    def seen(self) -> Tensor:
        if self.features is None:
            raise UmbelError("the paradigm did not ask the model's output layer for this batch")
        return self.features.flatten(1)

    def _note(self, module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        self.features = inputs[0]


@dataclass
class _Contrast:
    """One client's round; `common` and `last` are None where they are the same model."""

    mu: float
    own: Watched | None = None
    common: Watched | None = None
    last: Watched | None = None
    inputs: tuple[tuple[Any, ...], dict[str, Any]] | None = None

    def note(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.inputs = args, kwargs


@dataclass(frozen=True)
class Contrastive(Plain):
    """MOON's term: `mu * l_con` is added to the loss, where
    `l_con = -log(e^{sim(z, z_glob)/tau} / (e^{sim(z, z_glob)/tau} + e^{sim(z, z_prev)/tau}))`.

    z are the features of a batch (what the model's output layer gets), `z_glob` those of the
    model that was received and `z_prev` those of the client's own after its last round; sim is
    the cosine, and the mean is over the batch. In a client's first round the two are the same
    model, and the term, a constant, is left out.

    Paper: Li, He and Song 2021, Model-Contrastive Federated Learning, arXiv 2103.16257,
    equation 3. There z comes from a projection head between features and output layer, which is
    the model's business here.
    """

    mu: Hyper = 1.0
    tau: float = 0.5

    def __post_init__(self) -> None:
        check_hyper("mu", self.mu, least=0.0)
        check_hyper("tau", self.tau, above=0.0)

    def begin(self, run: LocalRun) -> _Contrast:
        memo = _Contrast(at(self.mu, run.round))
        if run.state:
            common, last = (copy.deepcopy(run.model).eval() for _ in range(2))
            last.load_state_dict(run.state)
            memo.common, memo.last = Watched.of(common), Watched.of(last)
        memo.own = Watched.of(run.model)
        handle = run.model.register_forward_pre_hook(memo.note, with_kwargs=True)
        memo.own.handles.append(handle)
        return memo

    def loss(self, memo: _Contrast, run: LocalRun, loss: Tensor) -> Tensor:
        if memo.common is None or memo.last is None or memo.mu == 0:
            return loss
        if memo.own is None or memo.inputs is None:
            raise UmbelError("MOON needs a paradigm that calls the model on its batches")
        own, common, last = memo.own.seen(), memo.common(memo.inputs), memo.last(memo.inputs)
        near = cosine_similarity(own, common, dim=1)
        far = cosine_similarity(own, last, dim=1)
        # -log(e^a / (e^a + e^b)) = softplus(b - a), which does not overflow.
        return loss + memo.mu * softplus((far - near) / self.tau).mean()

    def finish(self, memo: _Contrast, run: LocalRun, steps: int) -> tuple[Tensors, Tensors]:
        return {}, {name: value.detach().clone() for name, value in run.model.state_dict().items()}

    def release(self, memo: _Contrast) -> None:
        for handle in memo.own.handles if memo.own else ():
            handle.remove()
