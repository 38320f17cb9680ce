"""Simulated runs from end to end: the same bytes whatever runs them, and what they survive."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from umbel.errors import BadInput, UmbelError
from umbel.experiment import Experiment
from umbel.paradigms.supervised import Supervised
from umbel.server.observer import Silent
from umbel.simulation.engine import simulate
from umbel.strategies import LocalRun, Plain
from umbel.strategies.recipes import fedavg
from umbel.strategies.strategy import Strategy
from umbel.tensors import Tensors


def experiment(**sections: dict[str, Any]) -> Experiment:
    """Digits over six clients, four of them a round, three rounds; sections are merged in."""
    wanted: dict[str, dict[str, Any]] = {
        "experiment": {"rounds": 3, "seed": 7},
        "data": {
            "source": "digits",
            "clients": 6,
            "partition": {"name": "dirichlet", "alpha": 0.5},
        },
        "model": {"name": "mlp", "hidden": [16]},
        "strategy": {"name": "fedavg", "fraction": 0.67},
    }
    for section, values in sections.items():
        wanted[section] = {**wanted.get(section, {}), **values}
    return Experiment(**wanted)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The final model's digest of the plain run."""
    return simulate(experiment(), out=tmp_path_factory.mktemp("plain") / "run").sha256


def test_two_workers_give_the_same_bytes(tmp_path: Path, undisturbed: str) -> None:
    result = simulate(experiment(simulation={"workers": 2}), out=tmp_path / "run")
    assert result.sha256 == undisturbed
    assert result.rounds == 3 and result.status == "finished"
    assert result.rows[-1]["clients_ok"] == 4


def test_the_number_of_torch_threads_outside_changes_nothing(
    tmp_path: Path, undisturbed: str
) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        assert simulate(experiment(), out=tmp_path / "run").sha256 == undisturbed
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_ray_gives_the_same_bytes_and_leaves_standard_output_alone(
    tmp_path: Path, undisturbed: str, capfd: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("ray")
    # Ray takes its time to start where much else goes on.
    wanted = experiment(simulation={"engine": "ray", "workers": 2}, server={"wait": 240})
    result = simulate(wanted, out=tmp_path / "run")
    assert result.sha256 == undisturbed
    assert capfd.readouterr().out == ""


def test_ray_that_is_not_installed_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(BadInput, match=r"pip install 'umbel\[ray\]'"):
        simulate(experiment(simulation={"engine": "ray"}), out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


class Interrupting(Silent):
    """Raises when a round is finished, as Ctrl-C would."""

    def __init__(self, after: int) -> None:
        self._after = after

    def round_finished(self, record: Any) -> None:
        if record["round"] == self._after:
            raise KeyboardInterrupt


@pytest.mark.parametrize("workers", [1, 2])
def test_a_resumed_run_ends_in_the_same_bytes(
    tmp_path: Path, undisturbed: str, workers: int
) -> None:
    wanted = experiment(simulation={"workers": workers})
    with pytest.raises(KeyboardInterrupt):
        simulate(wanted, out=tmp_path / "run", observer=Interrupting(after=2))
    result = simulate(wanted, resume=tmp_path / "run")
    assert result.sha256 == undisturbed
    assert [record["round"] for record in result.records] == [1, 2, 3]


class Momentum(Plain):
    """A local part with state: it keeps the last update, and adds part of it to the next."""

    def gradients(
        self, memo: Any, run: LocalRun, gradients: list[torch.Tensor]
    ) -> list[torch.Tensor]:
        kept = run.state.get("kept")
        return gradients if kept is None else [g + 0.01 * kept.mean() for g in gradients]

    def finish(self, memo: Any, run: LocalRun, steps: int) -> tuple[Tensors, Tensors]:
        first = next(run.model.parameters()).detach()
        return {}, {"kept": first.clone()}


def stateful() -> Strategy:
    plain = fedavg(fraction=0.67)
    return Strategy(
        name="momentum",
        select=plain.select,
        local=Momentum(),
        combine=plain.combine,
        step=plain.step,
    )


def test_what_a_client_keeps_lies_on_disk_and_is_the_same_with_workers(tmp_path: Path) -> None:
    one = simulate(experiment(), out=tmp_path / "one", strategy=stateful())
    two = simulate(experiment(simulation={"workers": 2}), out=tmp_path / "two", strategy=stateful())
    assert one.sha256 == two.sha256
    kept = {path.parent.name for path in (tmp_path / "two" / "state").rglob("*.safetensors")}
    took_part = {row["client"] for record in two.records for row in record["clients"]}
    assert kept == took_part


def test_a_stateful_run_that_repeats_a_round_ends_in_the_same_bytes(tmp_path: Path) -> None:
    whole = simulate(experiment(), out=tmp_path / "whole", strategy=stateful())
    with pytest.raises(KeyboardInterrupt):
        simulate(
            experiment(),
            out=tmp_path / "cut",
            strategy=stateful(),
            observer=CutInRound(round=3, replies=2),
        )
    resumed = simulate(experiment(), resume=tmp_path / "cut", strategy=stateful())
    assert resumed.sha256 == whole.sha256


class CutInRound(Silent):
    """Raises in the middle of a round, when some of its clients have replied."""

    def __init__(self, round: int, replies: int) -> None:
        self._round, self._replies = round, replies
        self._now = 0

    def round_started(self, round: int, cohort: Any) -> None:
        self._now = round

    def reply(self, client: str, ok: bool, reason: str = "") -> None:
        if self._now == self._round:
            self._replies -= 1
            if self._replies == 0:
                raise KeyboardInterrupt


class Faulty(Supervised):
    """Breaks at one client: the one whose shard has this many training examples."""

    fault: str = ""
    victim: int = -1

    def batches(self, prepared: Any, batch_size: int, generator: torch.Generator) -> Iterator[Any]:
        if len(prepared["y"]) == type(self).victim:
            if self.fault == "raise":
                raise ValueError("this client is broken")
            os.kill(os.getpid(), signal.SIGKILL)
        return super().batches(prepared, batch_size, generator)


@pytest.mark.parametrize(
    ("fault", "workers", "reason"),
    [
        ("raise", 1, "this client is broken"),
        ("raise", 2, "this client is broken"),
        ("die", 2, "its worker process ended with exit code -9"),
    ],
)
def test_a_broken_client_costs_its_own_updates_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str, workers: int, reason: str
) -> None:
    wanted = experiment(
        strategy={"fraction": 1.0},
        paradigm={"name": f"{__name__}:Faulty"},
        simulation={"workers": workers},
    )
    sizes = simulate(experiment(strategy={"fraction": 1.0}), out=tmp_path / "whole")
    first = sizes.records[0]["clients"][0]
    monkeypatch.setattr(Faulty, "victim", first["examples"])
    monkeypatch.setattr(Faulty, "fault", fault)
    result = simulate(wanted, out=tmp_path / "run")
    assert result.rounds == 3
    for record in result.records:
        failed = [row for row in record["clients"] if row["status"] != "ok"]
        assert [row["client"] for row in failed] == [first["client"]]
        assert reason in failed[0]["reason"]


def test_too_few_good_updates_end_the_run_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = simulate(experiment(strategy={"fraction": 1.0}), out=tmp_path / "whole").records[0]
    monkeypatch.setattr(Faulty, "victim", first["clients"][0]["examples"])
    monkeypatch.setattr(Faulty, "fault", "raise")
    wanted = experiment(
        strategy={"fraction": 1.0},
        paradigm={"name": f"{__name__}:Faulty"},
        server={"min_updates": 6, "retries": 1},
    )
    with pytest.raises(UmbelError, match="this client is broken"):
        simulate(wanted, out=tmp_path / "run")


def test_a_population_of_a_million_starts_at_once(tmp_path: Path) -> None:
    asked: list[str] = []

    class Cohorts(Silent):
        def round_started(self, round: int, cohort: Any) -> None:
            asked.extend(cohort)

    wanted = experiment(
        experiment={"rounds": 2},
        data={
            "clients": 1_000_000,
            "partition": {"name": "bootstrap", "examples": 20},
        },
        strategy={"fraction": 4e-6},
        evaluation={"clients": 5},
    )
    result = simulate(wanted, out=tmp_path / "run", observer=Cohorts())
    assert result.rounds == 2
    assert len(asked) == 8
    assert all(0 <= int(name.removeprefix("client-")) < 1_000_000 for name in asked)


def test_a_run_folder_that_holds_a_run_is_refused(tmp_path: Path) -> None:
    simulate(experiment(experiment={"rounds": 1}), out=tmp_path / "run")
    with pytest.raises(BadInput, match="holds a run already"):
        simulate(experiment(), out=tmp_path / "run")


def test_data_that_cannot_be_read_leaves_no_run_folder(tmp_path: Path) -> None:
    with pytest.raises(BadInput):
        simulate(experiment(data={"source": str(tmp_path / "none")}), out=tmp_path / "run")
    assert not (tmp_path / "run").exists()
