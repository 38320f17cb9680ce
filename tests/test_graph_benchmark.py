"""What the benchmark of graphs takes for a fault."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

import pytest

pytest.importorskip("torch_geometric", reason="the extra `graph` is not installed")

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
TOLD = {"nodes": 60.0, "cora-1": 78.1, "cora-2": 81.1, "citeseer-1": 66.6, "citeseer-2": 68.5}
"""What docs/graphs.md tells of FedGCN; of FedAvg nothing is judged."""


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("graph_nodes")


def faults(
    benchmark: ModuleType, monkeypatch: pytest.MonkeyPatch, folder: Path, told: dict[str, float]
) -> list[str]:
    """Of FedGCN, had its runs the figures that are told."""

    def accuracy(_: object, run: Path) -> float:
        return next(value for name, value in told.items() if name in run.name)

    monkeypatch.setattr(benchmark, "accuracy", accuracy)
    setting = benchmark.Setting(str(folder), folder, seeds=2)
    found: list[str] = benchmark.fedgcn(setting)
    return found


def test_the_better_of_two_numbers_of_hops_is_judged(
    benchmark: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert faults(benchmark, monkeypatch, tmp_path, TOLD) == []
    low = TOLD | {"citeseer-1": 65.9, "citeseer-2": 65.8}
    [said] = faults(benchmark, monkeypatch, tmp_path, low)
    assert said == "citeseer, ten clients, FedGCN, 1 hops: 65.9, not about 68.0"


def test_an_exact_figure_may_be_a_point_below_and_one_told_as_about_two(
    benchmark: ModuleType,
) -> None:
    judged, about = benchmark.judged, benchmark.ABOUT
    assert judged("Cora", [80.4, 80.8], 81.5) == [] and len(judged("Cora", [80.4], 81.5)) == 1
    assert (
        judged("Cora", [76.1], 78.0, about) == [] and len(judged("Cora", [75.9], 78.0, about)) == 1
    )
