"""Tensors that stay at the client."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from ..errors import BadInput
from .local_parts import Plain
from .output_layer import helper_names, output_layer, own_modules

NORMALISATION = (
    nn.BatchNorm1d,
    nn.BatchNorm2d,
    nn.BatchNorm3d,
    nn.SyncBatchNorm,
    nn.InstanceNorm1d,
    nn.InstanceNorm2d,
    nn.InstanceNorm3d,
    nn.GroupNorm,
    nn.LayerNorm,
    nn.RMSNorm,
)


@dataclass(frozen=True)
class KeepNormalisation(Plain):
    """Every tensor of the model's normalisation layers stays at its client: weights, biases,
    running statistics and counters.

    Paper: Li et al. 2021, FedBN: Federated Learning on Non-IID Features via Local Batch
    Normalization, arXiv 2102.07623, algorithm 1. The paper keeps batch normalisation; here the
    other kinds that torch has stay too. Raises BadInput for a model without any.
    """

    def keeps(self, model: nn.Module, names: Sequence[str]) -> frozenset[str]:
        layers = [n for n, m in own_modules(model) if isinstance(m, NORMALISATION)]
        if not layers:
            raise BadInput(
                "strategy.name: fedbn keeps normalisation layers at the clients, and this model "
                "has none; take a model that has (model.batch_norm = true for mlp), or fedavg"
            )
        return _below(layers, names) | _helping(model, layers, names)


@dataclass(frozen=True)
class KeepLayers(Plain):
    """The named layers stay at their client; the output layer, where none is named.

    Paper: Arivazhagan et al. 2019, Federated Learning with Personalization Layers, arXiv
    1912.00818, algorithm 1. A layer is named as in the model's state dict (`body.0`, `head`).
    Raises BadInput for a name that no tensor has, and where nothing would travel.
    """

    layers: tuple[str, ...] = ()

    def keeps(self, model: nn.Module, names: Sequence[str]) -> frozenset[str]:
        layers = self.layers or (output_layer(model)[0],)
        helpers = _below(helper_names(model), names)
        own = [name for name in names if name not in helpers]
        for layer in layers:
            if not _below([layer], own):
                valid = sorted({name.rpartition(".")[0] or name for name in own})
                raise BadInput(
                    f"strategy.layers: the model has no layer {layer!r}; it has {', '.join(valid)}"
                )
        kept = _below(layers, own)
        if len(kept) == len(own):
            raise BadInput("strategy.layers: all layers stay at the clients: nothing would travel")
        return kept | _helping(model, layers, names)


def _below(layers: Sequence[str], names: Sequence[str]) -> frozenset[str]:
    return frozenset(
        name for name in names if any(name == own or name.startswith(f"{own}.") for own in layers)
    )


def _helping(model: nn.Module, layers: Sequence[str], names: Sequence[str]) -> frozenset[str]:
    """The tensors of the model's helpers for these layers. A teacher, or FedMatch's psi, has the
    model's layers: where one stays, its own do, or a client's and the federation's would be
    summed, or averaged, as if they were of one model."""
    twins = [f"{helper}.{layer}" for helper in helper_names(model) for layer in layers]
    return _below(twins, names)
