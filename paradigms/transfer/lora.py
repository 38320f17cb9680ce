"""Low-rank adapters: small matrices beside a pretrained model's weights; they alone are trained."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from ... import registry
from ...errors import BadInput
from .depth import HEAD, freeze

ADAPTER = ".lora_"
"""What is in the names of the tensors of an adapter, and in no other."""


@dataclass(frozen=True)
class Lora:
    """Adapters `W x + (alpha / rank) B A x` in the body, made by peft, trained with the head.

    A begins random, by the experiment's seed, and B at 0. The averages of A and of B are not those
    of BA: what is averaged is what travels, as in federated LoRA everywhere (FedIT).

    Paper: Hu et al. 2022, LoRA: Low-Rank Adaptation of Large Language Models, arXiv 2106.09685,
    equation 3.

    Args:
        rank: of the matrices A and B, at least 1.
        alpha: what the product is scaled by, over the rank; > 0.
        dropout: in [0, 1): of what goes into A.
        targets: the last parts of the layers' names, such as `query`; without any, those that peft
            has for the architecture, or all linear layers, or where there is none all convolutions
            that are not of groups.
    """

    rank: int = 8
    alpha: float = 16.0
    dropout: float = 0.0
    targets: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise ValueError(f"train.rank: {self.rank} is not at least 1")
        if not self.alpha > 0:
            raise ValueError(f"train.alpha: {self.alpha:g} is not above 0")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"train.dropout: {self.dropout:g} is not in [0, 1)")

    @property
    def changes(self) -> bool:
        return False

    def prepare(self, model: nn.Module, called: Collection[nn.Module]) -> None:
        """Put the adapters into a model's body; raises BadInput where there is no such layer."""
        freeze(model, HEAD)
        body = model.get_submodule("body")
        library = _peft()
        layers = {n: m in called for n, m in body.named_modules() if _takes_adapter(m)}
        config = library.LoraConfig(
            r=self.rank,
            lora_alpha=self.alpha,
            lora_dropout=self.dropout,
            target_modules=_exactly(self._targets(body, layers, library)),
        )
        try:
            library.inject_adapter_in_model(config, body)
        except Exception as error:
            # The library raises whatever the layers' own constructors do.
            raise BadInput(f"paradigm.train: lora: {registry.raised(error)}") from error

    def enter(self, model: nn.Module, round: int) -> list[nn.Module]:
        return [m for m in model.get_submodule("body").modules() if isinstance(m, _NormBase)]

    def _targets(self, body: nn.Module, layers: Mapping[str, bool], library: Any) -> list[str]:
        """The names of the layers that get an adapter, of those that can take one; each says
        whether the model calls it."""
        wanted = self.targets or _usual(body, library)
        called = [name for name, is_called in layers.items() if is_called]
        if not wanted:
            return _linear(body, called)
        for target in wanted:
            found = [name for name in layers if _ends(name, target)]
            if not found:
                ends = sorted({name.rpartition(".")[2] for name in layers})
                raise BadInput(
                    f"paradigm.train.targets: no layer that takes an adapter is called "
                    f"{target!r}{registry.nearest(target, ends)}"
                )
            if not any(layers[name] for name in found):
                ends = sorted({name.rpartition(".")[2] for name in called})
                raise BadInput(
                    f"paradigm.train.targets: the model multiplies by the weights of {found[0]} "
                    "itself, so that an adapter there would do nothing; those that do something: "
                    f"{', '.join(ends)}"
                )
        return [name for name in called if any(_ends(name, target) for target in wanted)]


def merge_adapters(model: nn.Module) -> None:
    """Add what adapters make of a layer's weights to them, `W + (alpha / rank) B A`, and take the
    adapters out: the model gives the same, and has the names of its architecture again."""
    if not any(ADAPTER in name for name in model.state_dict()):
        return
    layers = _peft().tuners.tuners_utils.BaseTunerLayer
    for name, layer in list(model.named_modules()):
        if isinstance(layer, layers):
            layer.merge()
            parent, _, own = name.rpartition(".")
            setattr(model.get_submodule(parent), own, layer.get_base_layer())


def _takes_adapter(module: nn.Module) -> bool:
    """Convolutions of groups, and kinds of their own, are none that peft can put together."""
    if isinstance(module, nn.Conv2d):
        return type(module) is nn.Conv2d and module.groups == 1
    return isinstance(module, nn.Linear | nn.Embedding) or type(module).__name__ == "Conv1D"


def _exactly(names: Sequence[str]) -> str:
    """What peft takes for these layers alone; of a list it takes all whose names end so."""
    return "|".join(map(re.escape, names))


def _ends(name: str, target: str) -> bool:
    return name == target or name.endswith(f".{target}")


def _linear(body: nn.Module, called: Sequence[str]) -> list[str]:
    """All linear layers; of a body without any, all that take an adapter."""
    found = [name for name in called if isinstance(body.get_submodule(name), nn.Linear)]
    if not called:
        raise BadInput("paradigm.train: lora: the model's body has no layer that takes an adapter")
    return found or list(called)


def _usual(body: nn.Module, library: Any) -> Sequence[str]:
    """The layers that peft adapts in an architecture of transformers'."""
    kind = getattr(getattr(body, "config", None), "model_type", None)
    table = library.utils.TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING
    found: Sequence[str] = table.get(kind, ())
    return found if not isinstance(found, str) else ()


def _peft() -> Any:
    try:
        import peft
    except ImportError as error:
        raise BadInput(
            f"paradigm.train: \"lora\" needs peft: {error}; pip install 'umbel[text]'"
        ) from error
    return peft
