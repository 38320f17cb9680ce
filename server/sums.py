"""What becomes of the statistics that clients send: they are added up and sent back, or they are
all that a model is made of."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from ..errors import BadInput, UpdateRefused
from ..paradigms.base import AbsorbsTotal, Paradigm
from ..tensors import Tensors
from ..training.threads import one_thread
from .validation import add_statistics, check_statistics


class Sums:
    """Statistics that are added up, and sent to the clients of the next round."""

    def begin(self, model: Tensors) -> Tensors:
        """Before a round that begins with a model: the tensors of it that clients send back."""
        return model

    def check(self, total: Tensors, more: Tensors) -> None:
        """Raise UpdateRefused for a client's statistics that do not go with the others'."""
        check_statistics(total, more)

    def add(self, total: Tensors, more: Tensors) -> None:
        """Take a client's into the total, in place."""
        add_statistics(total, more)

    def told(self, total: Tensors) -> Tensors:
        """What the clients of the next round get of a round's total."""
        return total

    def absorb(self, model: Tensors, total: Tensors, round: int) -> Tensors:
        """What becomes of a model by a round's total: the tensors that change."""
        return {}


class Absorbed(Sums):
    """Statistics that a paradigm makes its model of: nothing else comes back from the clients, and
    they get the new model in place of the total.

    Args:
        paradigm: it.
        module: its model, which is only lent: each call puts the weights into it.
        rounds: the experiment's.
        note: tells the user what the paradigm has to say.

    Raises BadInput where there are too few rounds.
    """

    def __init__(
        self, paradigm: AbsorbsTotal, module: nn.Module, rounds: int, note: Callable[[str], None]
    ) -> None:
        self._paradigm, self._module, self._note = paradigm, module, note
        least = paradigm.least_rounds(module)
        if rounds < least:
            raise BadInput(
                f"experiment.rounds: {rounds} is too few for this paradigm, which takes {least} "
                "before its model is one"
            )

    def begin(self, model: Tensors) -> Tensors:
        self._module.load_state_dict(model)
        return {}

    def check(self, total: Tensors, more: Tensors) -> None:
        fault = self._paradigm.fault(self._module, more)
        if fault:
            raise UpdateRefused(f"its statistics cannot be: {fault}")

    def add(self, total: Tensors, more: Tensors) -> None:
        self._paradigm.gather(total, more)

    def told(self, total: Tensors) -> Tensors:
        return {}

    def absorb(self, model: Tensors, total: Tensors, round: int) -> Tensors:
        self._module.load_state_dict(model)
        with one_thread():
            said = self._paradigm.absorb(self._module, total, round)
        if said:
            self._note(said)
        return {name: value.clone() for name, value in self._module.state_dict().items()}


def sums_of(
    paradigm: Paradigm, module: nn.Module, rounds: int, note: Callable[[str], None]
) -> Sums:
    """How a paradigm's statistics are taken in; raises BadInput as `Absorbed` does."""
    if isinstance(paradigm, AbsorbsTotal):
        return Absorbed(paradigm, module, rounds, note)
    return Sums()
