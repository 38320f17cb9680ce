"""The round loop: the one path of a round, whatever the runtime, paradigm and strategy."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from flwr.serverapp import Grid

from ..building import build_model, build_paradigm
from ..data.shard import Shard
from ..errors import BadInput, UmbelError
from ..experiment import Experiment
from ..paradigms.helpers import learnt
from ..rounds import read_records
from ..schema import Schema
from ..sections import DataSection, Named
from ..tensors import Tensors, nbytes
from .checkpoint import Checkpoint
from .closing import Closing, Final
from .drivers import Driver, HasClusters
from .evaluation import CentralTest, EarlyStop
from .labels import lacking_labels
from .observer import Observer
from .outcomes import Evaluated, noised_by, round_record
from .peers import Peers
from .phases import Phases
from .population import Population
from .record import RunFolder
from .rest import Rest
from .side import OwnExamples
from .stages import Stages
from .stopwatch import Stopwatch
from .sums import Absorbed, sums_of


@dataclass(frozen=True)
class RunSummary:
    """How a run ended: `status` is `finished` or `stopped` (early, and `reason` says why)."""

    status: str
    rounds: int
    model_sha256: str
    metrics: Mapping[str, Any]
    folder: RunFolder
    reason: str = ""


@dataclass(frozen=True)
class Setting:
    """What a run needs beside the experiment: the way to the clients, the strategy, where the
    record goes, who watches, and how to get the server's test set and
    its own examples once the schema is known."""

    grid: Grid
    driver: Driver
    folder: RunFolder
    observer: Observer
    examples: Callable[[Schema], tuple[Shard | None, Shard | None]]


def run_rounds(experiment: Experiment, setting: Setting) -> RunSummary:
    """Run an experiment from its checkpoint, or from the start, to its end.

    Raises UmbelError when a round cannot get enough good updates, BadInput when the clients
    do not fit together; the checkpoint is whole either way.
    """
    run = _Run.begin(experiment, setting)
    rounds = experiment.experiment.rounds
    reason = run.stop_reason
    try:
        while run.round < rounds and not reason:
            reason = run.play(run.round + 1)
        return run.end(reason)
    finally:
        run.close()


class _Run:
    """A run between two rounds: the model, the server's memory, and the clients."""

    def __init__(self, experiment: Experiment, setting: Setting, population: Population) -> None:
        if population.schema is None:
            raise UmbelError("no client told its schema")
        self._experiment, self._setting = experiment, setting
        self._population = population
        self._paradigm = build_paradigm(experiment)
        module = build_model(self._paradigm, experiment, population.schema)
        self._model: Tensors = {name: t.clone() for name, t in module.state_dict().items()}
        self._stages = Stages(self._paradigm, module, experiment.experiment.rounds)
        travels = self._stages.last
        test, own = setting.examples(population.schema)
        side = None if own is None else OwnExamples(experiment, self._paradigm, module, own)
        setting.driver.meet(module, side)
        self._stages.leave_out(setting.driver.keeps(travels))
        if self._stages.names(1) != self._stages.last and not setting.driver.takes_more:
            raise BadInput(
                f"strategy.name: {experiment.strategy.name} takes the same tensors in every "
                "round, and with this paradigm.train more travel later"
            )
        self._statistics: Tensors = {}
        taught = own if setting.driver.asks_server else None
        self._lacking = lacking_labels(experiment, self._paradigm, population, taught)
        if self._lacking:
            setting.observer.note(self._lacking)
        self._sums = sums_of(self._paradigm, module, experiment.experiment.rounds, self._note)
        self._stop = EarlyStop.of(experiment)
        central, shown = experiment.evaluation.central, experiment.evaluation.embeddings
        wanted = test if central or shown else None
        held = None if wanted is None else CentralTest(self._paradigm, module, wanted)
        self._test = held if central else None
        self._federated = experiment.evaluation.federated and experiment.data.held_out > 0
        if self._stop and self._test is None and not self._federated:
            raise BadInput("evaluation.stop: nothing to score; set data.held_out or data.test")
        self._closing = Closing.of(experiment, self._paradigm, population.schema, held)
        self._last_metrics: Mapping[str, Any] = {}
        self.round, self.stop_reason = 0, ""
        task = {
            "run": setting.folder.run,
            "experiment": for_clients(experiment, setting.driver),
            "strategy": experiment.strategy.name,
        }
        self._phases = Phases(setting.grid, population, setting.driver, experiment, task)
        self._phases.observer = setting.observer
        self._phases.adopt, self._phases.sums = self._adopt, self._sums
        self._phases.spool = setting.folder.path
        self._phases.rest = Rest(self._model, self._stages.names(1))
        self._peers = self._phases.peers = Peers(self._paradigm, module)
        lent = self._peers.asked or isinstance(self._sums, Absorbed)
        if side is None and held is None and not lent:
            module.to("meta")  # Nobody needs the first values any more, and a model may be large.

    @classmethod
    def begin(cls, experiment: Experiment, setting: Setting) -> _Run:
        setting.folder.tidy()
        checkpoint = Checkpoint.read(setting.folder.checkpoint)
        population = Population(setting.grid, experiment, setting.observer)
        population.meet(setting.folder.names)
        run = cls(experiment, setting, population)
        if checkpoint is not None:
            run._restore(checkpoint)
        setting.folder.write_environment(run._facts())
        setting.observer.started(experiment, len(population), run.round + 1)
        setting.folder.update_environment(run._phases.tell_boundary(run._paradigm))
        return run

    def _note(self, text: str) -> None:
        """Tell what a paradigm found, unless it is what the clients' answers told before."""
        if text != self._lacking:
            self._setting.observer.note(text)

    def play(self, round: int) -> str:
        """One round; returns why the run should end after it, or an empty string."""
        seconds = Stopwatch()
        with seconds("select"):
            self._population.refresh()
        model = self._travelling(round)
        if new := self._stages.new(round):
            self._setting.driver.add({name: model[name] for name in new})
        trained = self._phases.train(round, model, self._statistics, seconds)
        self._model = {**self._model, **trained.model}
        self._statistics = trained.statistics
        self._model |= self._sums.absorb(self._model, self._statistics, round)
        metrics: dict[str, Any] = {"train": trained.metrics}
        evaluated = Evaluated()
        every = self._experiment.evaluation.every
        if round % every == 0 or round == self._experiment.experiment.rounds:
            with seconds("evaluate"):
                if self._federated:
                    evaluated = self._phases.evaluate(round, self._travelling(round))
                    metrics["federated"] = evaluated.metrics
                if self._test is not None:
                    metrics["central"] = self._test.score(self._model)
        reason = self._stop.reached(metrics) if self._stop else ""
        self.round, self.stop_reason = round, reason
        self._last_metrics = metrics
        told = (metrics, trained, evaluated)
        with seconds("checkpoint"):
            # With the round's line in it: a crash before the next statement loses nothing.
            line = round_record(round, *told, seconds.read())
            self._checkpoint(line).write(self._setting.folder.checkpoint)
        record = round_record(round, *told, seconds.read())
        self._setting.folder.add_round(record)
        self._setting.observer.round_finished(record)
        return reason

    def _travelling(self, round: int) -> Tensors:
        return {name: self._model[name] for name in self._stages.names(round)}

    def _adopt(self, shared: Tensors) -> None:
        self._model = {**self._model, **shared}

    def end(self, reason: str) -> RunSummary:
        """Write the model and what the run was."""
        sha256 = self._setting.folder.write_model(learnt(self._paradigm, self._model))
        for number, (own, _) in self._clusters().items():
            whole = learnt(self._paradigm, {**self._model, **own})
            self._setting.folder.write_cluster(number, whole)
        final = Final(self._model, self._travelling(self.round), sha256, self.round)
        self._closing.tell(self._phases, self._setting.folder, self._setting.observer, final)
        status = "stopped" if reason else "finished"
        facts = {**self._facts(), "status": status, "reason": reason, "model_sha256": sha256}
        facts["noised_by"] = noised_by(read_records(self._setting.folder.metrics))
        self._setting.folder.write_environment(facts)
        summary = RunSummary(
            status, self.round, sha256, self._last_metrics, self._setting.folder, reason
        )
        self._setting.observer.finished(summary)
        return summary

    def _clusters(self) -> dict[int, tuple[Tensors, list[str]]]:
        driver = self._setting.driver
        if not isinstance(driver, HasClusters) or not self.round:
            return {}
        return driver.clusters(self._travelling(self.round))

    def close(self) -> None:
        """Part the run and its phases, which know each other: what they hold is free at once,
        and does not wait for the next collection of cycles."""
        del self._phases

    def _facts(self) -> dict[str, Any]:
        travelling, found = self._travelling(self._experiment.experiment.rounds), self._clusters()
        return {
            "seed": self._experiment.experiment.seed,
            **self._population.facts(),
            "torch_threads": 1,
            "status": "running",
            "travels": [
                {"name": name, "shape": list(t.shape), "dtype": str(t.dtype).split(".")[-1]}
                for name, t in travelling.items()
            ],
            "travels_bytes": nbytes(travelling),
            "statistics": sorted(self._statistics),
            "lent": self._peers.names,
            **({"clusters": {k: names for k, (_, names) in found.items()}} if found else {}),
        }

    def _checkpoint(self, line: Mapping[str, Any]) -> Checkpoint:
        tensors, facts = self._setting.driver.save()
        stop = asdict(self._stop) if self._stop else {}
        facts = {"driver": facts, "stop": stop, "reason": self.stop_reason, "record": line}
        peers, facts["peers"] = self._peers.save()
        return Checkpoint(self.round, self._model, tensors, self._statistics, peers, facts)

    def _restore(self, checkpoint: Checkpoint) -> None:
        if set(checkpoint.model) != set(self._model):
            raise UmbelError(
                f"{self._setting.folder.checkpoint}: holds another model than the experiment's"
            )
        self.round = checkpoint.round
        self._model = {name: checkpoint.model[name] for name in self._model}
        self._statistics = checkpoint.statistics
        with checkpoint.understood(self._setting.folder.checkpoint):
            self._setting.driver.restore(checkpoint.server, checkpoint.facts["driver"])
            self._peers.restore(checkpoint.peers, checkpoint.facts["peers"])
            if self._stop:
                self._stop.best = checkpoint.facts["stop"]["best"]
                self._stop.since = checkpoint.facts["stop"]["since"]
            self.stop_reason = checkpoint.facts["reason"]
        self._setting.folder.rewind(checkpoint.round, checkpoint.facts.get("record"))


def for_clients(experiment: Experiment, driver: Driver) -> str:
    """The part of an experiment that a client needs, as JSON: no path or setting of the
    server's leaves it, and no strategy that has nothing to do there."""
    told = Experiment(
        experiment=experiment.experiment,
        data=DataSection(held_out=experiment.data.held_out),
        # Their weights come with the messages.
        model=experiment.model.model_copy(update={"weights": None}),
        teacher=experiment.teacher and experiment.teacher.model_copy(update={"weights": None}),
        paradigm=experiment.paradigm,
        strategy=experiment.strategy if driver.at_client else Named(name="fedavg"),
        client=experiment.client,
    )
    return told.to_json()
