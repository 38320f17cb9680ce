"""A backbone from a source set: an experiment's model, trained on all of its data in one place."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..building import build_model, build_paradigm
from ..data import load_dataset
from ..errors import BadInput
from ..experiment import Experiment
from ..models.weights import HEAD
from ..result import Result
from ..server.observer import Observer
from ..simulation.engine import simulate
from ..tensors import write_tensors
from .run import METADATA
from .trained import Trained

SUFFIX = "-pretrain"

LONGEST_NAME = 80
"""Of an experiment."""

CLOSING = ("gain", "confusion", "embeddings", "subgraphs")
"""What may be asked for at the end of a run."""


@dataclass(frozen=True)
class Pretrained:
    """A backbone's file, and the run that it is of."""

    path: Path
    result: Result
    parameters: int

    @property
    def table(self) -> list[tuple[str, str]]:
        """What there is to say of it, a name and a value each."""
        last = self.result.rows[-1]
        names = [n for n in last if n == "loss" or n.startswith(("federated_", "central_"))]
        figures = [(n.replace("_", " "), last[n]) for n in names if not n.endswith("_examples")]
        return [
            ("rounds", str(self.result.rounds)),
            ("parameters", f"{self.parameters:,}"),
            *((name, f"{value:.4f}") for name, value in figures if value is not None),
            ("run", str(self.result.folder)),
        ]


def pretrain(
    experiment: Experiment,
    out: Path,
    *,
    epochs: int | None = None,
    observer: Observer | None = None,
) -> Pretrained:
    """Train an experiment's model as `in_one_place` says, and write all but its output layer.

    Args:
        experiment: the source data, the model and how it is trained.
        out: the safetensors file to write.
        epochs: how often the data is gone through.
        observer: told what happens.

    Raises BadInput before anything runs where `out` will not do, or the experiment will not.
    """
    _check_place(out)
    alone = in_one_place(experiment, epochs)
    _check_model(alone)
    result = simulate(alone, observer=observer)
    trained = Trained.open(result.folder)
    write_tensors(out, trained.backbone, METADATA)
    return Pretrained(out, result, sum(value.numel() for value in trained.backbone.values()))


def in_one_place(experiment: Experiment, epochs: int | None = None) -> Experiment:
    """The experiment with one client that has all the data, and an epoch a round.

    Args:
        experiment: what it is made of.
        epochs: how many; as many as a client of the experiment would have if None, where it does
            not count in steps.

    >>> whole = in_one_place(Experiment(client={"epochs": 3}, experiment={"rounds": 4}))
    >>> whole.experiment.rounds, whole.client.epochs, whole.data.clients
    (12, 1, 1)
    """
    if epochs is not None and epochs < 1:
        raise BadInput(f"pretrain: --epochs {epochs} is not at least 1")
    sections = experiment.model_dump(exclude_unset=True)
    run, client = experiment.experiment, experiment.client
    own = {**sections.get("client", {}), "stragglers": 0.0}
    rounds = run.rounds
    if epochs is not None or client.steps is None:
        own.pop("steps", None)
        rounds = run.rounds * client.epochs if epochs is None else epochs
        own["epochs"] = 1
    name = run.name[: LONGEST_NAME - len(SUFFIX)] + SUFFIX
    alone = {"clients": 1, "partition": {"name": "iid"}, "server": None}
    sections |= {
        "experiment": {**sections.get("experiment", {}), "name": name, "rounds": rounds},
        "data": {**sections.get("data", {}), **alone},
        "client": own,
        "strategy": {"name": "fedavg"},
        # One client alone gains nothing over itself, and nobody looks into its run's folder.
        "evaluation": {**sections.get("evaluation", {}), **dict.fromkeys(CLOSING, False)},
        "server": {**sections.get("server", {}), "min_updates": 1},
        "simulation": {},
    }
    return Experiment(**sections)


def _check_model(experiment: Experiment) -> None:
    data = experiment.data
    schema = load_dataset(data.source, label=data.label).schema
    model = build_model(build_paradigm(experiment), experiment, schema)
    if all(name.startswith(HEAD) for name in model.state_dict()):
        raise BadInput(
            f"pretrain: {experiment.model.name} is an output layer alone, so that nothing of it "
            "would be left for other classes; choose a model with a body, such as mlp"
        )


def _check_place(out: Path) -> None:
    if out.suffix != ".safetensors":
        raise BadInput(f"pretrain: --out {out}: name it {out.with_suffix('.safetensors')}")
    if out.exists():
        raise BadInput(f"pretrain: --out {out}: is there already; name another file")
    if not out.parent.is_dir():
        raise BadInput(f"pretrain: --out {out}: no such folder: {out.parent}")
