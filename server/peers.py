"""What clients are lent of one another's models: the server keeps that of a round's updates, and
sends it with the next round's model, to each client that of those most like it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..messages import PEERS
from ..paradigms.base import Paradigm
from ..paradigms.peers import peers_of
from ..rounds import natural
from ..tensors import Tensors
from ..training.threads import one_thread

_PLACES = "places"


class Peers:
    """The models of the last round's clients, and where the last one of each client ever met lies.

    Holds what is lent of each client of a round, and while a round goes on of two; of every other
    client a few numbers. Where the paradigm asks for no peers it keeps and sends nothing.

    Args:
        paradigm: of the experiment.
        module: its model, which is only lent: it is in evaluation mode, with other weights, after
            each call.
    """

    def __init__(self, paradigm: Paradigm, module: nn.Module) -> None:
        self._paradigm, self._module = peers_of(paradigm), module
        self._first: Tensors = {}
        self._names: frozenset[str] = frozenset()
        self._places: dict[str, Tensor] = {}
        self._lent: dict[str, Tensors] = {}
        self._coming: dict[str, tuple[Tensors, Tensor]] = {}
        if self._paradigm is not None:
            self._first = {name: value.clone() for name, value in module.state_dict().items()}
            self._names = frozenset(self._paradigm.lends(module))

    @property
    def asked(self) -> bool:
        """Whether the paradigm asks for any."""
        return self._paradigm is not None

    @property
    def names(self) -> list[str]:
        """The tensors that are lent, sorted."""
        return sorted(self._names)

    def begin(self) -> None:
        """Before the first update of a round, or of a round that is repeated."""
        self._coming = {}

    def note(self, client: str, tensors: Tensors) -> None:
        """Take in what travelled of a client's model."""
        if self._paradigm is not None:
            lent = {name: value.clone() for name, value in tensors.items() if name in self._names}
            self._coming[client] = lent, self._place(tensors)

    def end(self) -> None:
        """After a round: its clients are those that lend in the next."""
        if self._paradigm is not None:
            self._lent = {client: lent for client, (lent, _) in self._coming.items()}
            self._places |= {client: place for client, (_, place) in self._coming.items()}
        self._coming = {}

    def told(self, clients: Sequence[str], model: Tensors) -> dict[str, Mapping[str, Tensors]]:
        """What each of some clients gets beside the model: groups of tensors, those of the k-th
        peer in `peers.k`. Empty where there is nobody to lend.

        A client that was never met is placed where the model is that it gets.
        """
        if self._paradigm is None or not self._lent:
            return {}
        unmet = any(client not in self._places for client in clients)
        here = self._place(model) if unmet else torch.zeros(0)
        told: dict[str, Mapping[str, Tensors]] = {}
        for client in clients:
            near = self._nearest(client, self._places.get(client, here))[: self._paradigm.peers]
            told[client] = {f"{PEERS}{k}": self._lent[name] for k, name in enumerate(near)}
        return told

    def _nearest(self, client: str, place: Tensor) -> list[str]:
        """The others that lend, those whose models are most like the one at a place first."""
        found = []
        for name in self._lent:
            far = float((self._places[name] - place).norm())
            found.append((far if math.isfinite(far) else math.inf, natural(name), name))
        return [name for _, _, name in sorted(found) if name != client]

    def _place(self, tensors: Tensors) -> Tensor:
        if self._paradigm is None:
            raise RuntimeError("no peers are asked for")
        self._module.load_state_dict({**self._first, **tensors})
        with one_thread():
            return self._paradigm.place(self._module)

    def save(self) -> tuple[Tensors, dict[str, Any]]:
        """What a checkpoint must hold: tensors, and what JSON can say."""
        tensors = {
            f"{number}/{name}": value
            for number, lent in enumerate(self._lent.values())
            for name, value in lent.items()
        }
        if self._places:
            tensors[_PLACES] = torch.stack(list(self._places.values()))
        return tensors, {"lend": list(self._lent), "met": list(self._places)}

    def restore(self, tensors: Tensors, facts: Mapping[str, Any]) -> None:
        """Take what `save` made."""
        lend = [str(name) for name in facts["lend"]]
        self._lent = {name: {} for name in lend}
        for key, value in tensors.items():
            number, _, name = key.partition("/")
            if name:
                self._lent[lend[int(number)]][name] = value
        if facts["met"]:
            self._places = dict(zip(facts["met"], tensors[_PLACES].unbind(), strict=True))
