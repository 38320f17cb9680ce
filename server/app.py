"""The ServerApp, and `run_experiment`, which every runtime calls."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from flwr.app import Context
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import Strategy as FlowerStrategy

from .. import registry
from ..data import load_dataset, server_examples
from ..data.shard import Dataset, Shard
from ..errors import BadInput, LinkLost, UmbelError
from ..experiment import Experiment, check, experiment_file, load
from ..schema import Schema
from ..strategies.fitting import unmet, unused
from ..strategies.strategy import Strategy
from .clustered import Clustered
from .drivers import Composed, Driver
from .loop import RunSummary, Setting, run_rounds
from .observer import Observer, Silent
from .record import RunFolder
from .report import write_report
from .stock import Stock


def run_experiment(
    grid: Grid,
    experiment: Experiment,
    folder: RunFolder,
    *,
    observer: Observer | None = None,
    strategy: FlowerStrategy | None = None,
    dataset: Dataset | None = None,
) -> RunSummary:
    """Run an experiment over a grid, from the folder's checkpoint if it has one.

    Args:
        grid: Flower's way to the clients; nothing else is known of them.
        experiment: what to run.
        folder: where the run's record goes.
        observer: told what happens.
        strategy: in place of the experiment's, for a strategy that is an object.
        dataset: the experiment's data set where the caller has it loaded already: the whole, with
            the examples that are the server's alone.

    Raises BadInput, and leaves no new run folder behind, where the clients do not fit
    together; UmbelError where a round fails for good; LinkLost where the run may go on over
    another grid.
    """
    seed, observer = experiment.experiment.seed, observer or Silent()
    strategy = strategy or build_strategy(experiment)
    if useless := unused(strategy, experiment.experiment.rounds):
        observer.note(useless)
    setting = Setting(
        grid=grid,
        driver=make_driver(strategy, seed),
        folder=folder,
        observer=observer,
        examples=find_examples(experiment, dataset),
    )
    try:
        summary = run_rounds(experiment, setting)
    except BadInput:
        folder.discard()
        raise
    except BaseException as error:
        note_end(folder, error)
        raise
    write_report(folder.path)
    return summary


def check_networked(experiment: Experiment) -> None:
    """Raise BadInput for what `check` refuses, and for clients that attack: over a network
    there are none to be had."""
    check(experiment)
    if experiment.simulation.attack is not None:
        raise BadInput(
            "simulation.attack: only simulated clients attack; leave it out, or use umbel simulate"
        )


def note_end(folder: RunFolder, error: BaseException) -> None:
    """Note in a run folder that, and why, its run has not come to its end."""
    status = "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
    if isinstance(error, LinkLost):
        status = "waiting"
    folder.update_environment({"status": status, "reason": str(error)})
    write_report(folder.path)


def build_strategy(experiment: Experiment) -> FlowerStrategy:
    """The strategy that an experiment names, umbel's or Flower's."""
    choice = experiment.strategy
    strategy = registry.build("strategy", choice.name, choice.parameters)
    if not isinstance(strategy, FlowerStrategy):
        raise BadInput(f"strategy.name: {choice.name}: {unmet(strategy, experiment)[0]}")
    return strategy


def make_driver(strategy: FlowerStrategy, seed: int) -> Driver:
    """The driver for a strategy: umbel's own by its parts, any other by Flower's hooks."""
    if not isinstance(strategy, Strategy):
        return Stock(strategy, seed)
    return Composed(strategy, seed) if strategy.clusters is None else Clustered(strategy, seed)


def find_examples(
    experiment: Experiment, dataset: Dataset | None
) -> Callable[[Schema], tuple[Shard | None, Shard | None]]:
    """How to get what the server tests on (`data.test` if it is named, else the test part that
    the data set brings, else none), and what it has of its own (`data.server`)."""

    def find(schema: Schema) -> tuple[Shard | None, Shard | None]:
        data, known = experiment.data, dataset
        if known is None and data.labels_at == "server":
            known = load_dataset(data.source, label=data.label)
        elif known is None and data.test is None and data.server is None:
            return None, None
        elif known is None:
            known = Dataset("the clients' data", schema, {"y": np.empty(0, np.int64)})
        return server_examples(experiment, known)

    return find


app = ServerApp()
"""The app that stock Flower starts, as by `flwr run`; the run's configuration names the
experiment file as `experiment` and, if it likes, the run folder as `out`."""


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Run the experiment that the run's configuration names."""
    if "experiment" not in context.run_config:
        raise UmbelError("the run configuration names no experiment: --run-config 'experiment=...'")
    from ..progress import Progress

    experiment = load(experiment_file(str(context.run_config["experiment"])))
    check_networked(experiment)
    nodes = len(list(grid.get_node_ids()))
    if nodes:
        data = experiment.data.model_copy(update={"clients": nodes})
        experiment = experiment.model_copy(update={"data": data})
    out = context.run_config.get("out")
    with RunFolder.held(experiment, "flower", out=Path(str(out)) if out else None) as folder:
        run_experiment(grid, experiment, folder, observer=Progress())
