"""The same simulation on Flower's Ray backend, for those who outgrow one machine.

Ray moves messages between its processes with its own pickle; umbel itself still reads and
writes none. Every actor makes the shards anew from the experiment, so the data must be where
the actors are.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flwr.app import Context, Message
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid

from ..errors import BadInput
from ..training.threads import one_thread

if TYPE_CHECKING:
    from ..experiment import Experiment
    from ..strategies.strategy import ClientSide

_app: tuple[tuple[str, str], ClientApp] | None = None
"""The app of this actor's process and what it was made from: made once, not once a message."""


class RayClients(ClientApp):
    """A ClientApp that travels as its description, and comes to life where it is called."""

    def __init__(self, experiment: str, state: str, side: ClientSide | None) -> None:
        super().__init__()
        self._description = (experiment, state)
        self._side = side

    def __reduce__(self) -> tuple[type[RayClients], tuple[str, str, ClientSide | None]]:
        return RayClients, (*self._description, self._side)

    def __call__(self, message: Message, context: Context) -> Message:
        global _app
        if _app is None or _app[0] != self._description:
            _app = self._description, _make_app(*self._description, self._side)
        with one_thread():
            return _app[1](message, context)


def _make_app(experiment: str, state: str, side: ClientSide | None) -> ClientApp:
    from ..data import make_shards
    from ..experiment import Experiment
    from .attackers import with_poison
    from .engine import SimulatedClients

    wanted = Experiment.from_json(experiment)
    shards = with_poison(wanted, make_shards(wanted))
    return SimulatedClients(shards, Path(state), side)()


def require_ray() -> None:
    """Raises BadInput where Ray is not installed."""
    if importlib.util.find_spec("ray") is None:
        raise BadInput(
            "simulation.engine = 'ray': Ray is not installed; pip install 'umbel[ray]', "
            "or use simulation.engine = 'in-process'"
        )


@contextmanager
def ray_grid(experiment: Experiment, state: Path, side: ClientSide | None) -> Iterator[Grid]:
    """Ray actors as the experiment's clients.

    A cluster is used where the environment names one (`RAY_ADDRESS`); otherwise Ray is
    started on this machine with `simulation.workers` actors, and ended afterwards.
    """
    require_ray()
    import ray

    from .ray_internals import simulated_nodes

    ours = not ray.is_initialized()
    start: dict[str, Any] = {"logging_level": "ERROR", "log_to_driver": False}
    if "RAY_ADDRESS" not in os.environ:
        start["num_cpus"] = experiment.simulation.workers
    backend = {"init_args": start, "client_resources": {"num_cpus": 1, "num_gpus": 0.0}}
    clients = RayClients(experiment.to_json(), str(state.absolute()), side)
    try:
        with simulated_nodes(clients, experiment.data.clients, backend) as grid:
            yield grid
    finally:
        if ours:
            ray.shutdown()
