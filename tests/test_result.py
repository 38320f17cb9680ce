from __future__ import annotations

import hashlib
import json
import sys
from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest
import torch
from run_folders import make_run

from umbel.errors import BadInput, UmbelError
from umbel.result import Result


def test_a_run_folder_reads_back(tmp_path: Path) -> None:
    result = Result.open(make_run(tmp_path / "run", rounds=5))
    assert (result.rounds, result.status, result.folder) == (5, "finished", tmp_path / "run")
    assert torch.equal(result.model["bias"], torch.arange(3.0))
    blob = (tmp_path / "run" / "model.safetensors").read_bytes()
    assert result.sha256 == hashlib.sha256(blob).hexdigest()


def test_metrics_are_a_data_frame_of_one_row_a_round(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    metrics = Result.open(make_run(tmp_path, rounds=5)).metrics
    assert isinstance(metrics, pandas.DataFrame)
    assert metrics["round"].tolist() == [1, 2, 3, 4, 5]
    assert metrics["federated_accuracy"].is_monotonic_increasing
    assert {"central_accuracy", "loss", "bytes_up", "bytes_down", "seconds"} <= set(metrics)


def test_metrics_without_pandas_are_records(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    metrics = Result.open(make_run(tmp_path, rounds=2)).metrics
    assert isinstance(metrics, list)
    assert metrics[1]["round"] == 2


def test_a_crashed_run_opens(tmp_path: Path) -> None:
    folder = make_run(tmp_path, rounds=4, model=False)
    path = folder / "metrics.jsonl"
    path.write_bytes(path.read_bytes()[:-30])
    result = Result.open(folder)
    assert (result.rounds, result.status) == (3, "unfinished")
    for missing in (lambda: result.model, lambda: result.sha256):
        with pytest.raises(UmbelError, match="umbel resume"):
            missing()
    assert json.loads(result.to_json())["model_sha256"] is None


def test_a_run_that_died_before_round_1_opens(tmp_path: Path) -> None:
    (tmp_path / "environment.json").write_text('{"status": "running"}')
    result = Result.open(tmp_path)
    assert (result.rounds, result.status, list(result.rows)) == (0, "running", [])


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "missing"):
        with pytest.raises(BadInput, match="no run folder"):
            Result.open(folder)


def test_a_damaged_model_is_an_error_that_names_it(tmp_path: Path) -> None:
    folder = make_run(tmp_path)
    (folder / "model.safetensors").write_bytes(b"\x10")
    with pytest.raises(UmbelError, match=r"model\.safetensors"):
        _ = Result.open(folder).model


def test_json_is_one_strict_line(tmp_path: Path) -> None:
    folder = make_run(tmp_path, rounds=2)
    with (folder / "metrics.jsonl").open("a") as file:
        file.write('{"round": 3, "loss": NaN, "metrics": {"central": {"accuracy": 0.5}}}\n')
    result = Result.open(folder)
    text = result.to_json()
    assert "\n" not in text
    assert "NaN" not in text
    told = json.loads(text)
    assert (told["run"], told["status"], told["rounds"]) == (str(folder), "finished", 3)
    assert told["model_sha256"] == result.sha256
    assert (told["metrics"]["central_accuracy"], told["metrics"]["loss"]) == (0.5, None)


def test_the_plot_shows_metric_and_loss_and_is_written(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    result = Result.open(make_run(tmp_path / "run", rounds=5))
    figure = result.plot(tmp_path / "plot.png")
    assert [axes.get_ylabel() for axes in figure.axes] == ["accuracy", "loss"]
    assert len(figure.axes[0].lines) == 2
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")


def test_a_run_without_rounds_plots_empty_axes(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    (tmp_path / "environment.json").write_text("{}")
    assert not Result.open(tmp_path).plot().axes[0].lines


def test_a_result_cannot_be_changed(tmp_path: Path) -> None:
    result = Result.open(make_run(tmp_path))
    with pytest.raises(FrozenInstanceError):
        result.rounds = 7  # type: ignore[misc]
