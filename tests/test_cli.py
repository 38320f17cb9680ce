"""The command: what a user types, sees, and gets as an exit code."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

COMMANDS = [
    "check", "simulate", "up", "server", "client", "run", "resume", "list", "report", "partition",
    "data fetch", "compare", "new strategy", "export", "pretrain",
]  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(umbel, command):
    code, out, _ = umbel(*command.split(), "--help")
    assert code == 0 and f"umbel {command}" in out and "Example" in out


def test_check_accepts_a_good_file(umbel):
    assert umbel("check", "exp.toml")[0] == 0


def test_check_can_read_the_data_too(umbel):
    assert umbel("check", "exp.toml", "--data")[0] == 0


def test_an_experiment_may_name_a_module_of_this_folder(umbel, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    (tmp_path / "their_own_rule.py").write_text(
        "from umbel.strategies import fedavg\n\ndef mine():\n    return fedavg()\n"
    )
    assert umbel("check", "exp.toml", "--set", "strategy.name=their_own_rule:mine")[0] == 0


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["check", "none.toml"], "none.toml: no such file"),
        (["check", "exp.toml", "--set", "experiment.rounds=0"], "experiment.rounds"),
        (["check", "exp.toml", "--set", "strategy.name=fedagv"], "did you mean 'fedavg'?"),
        (["check", "exp.toml", "--data", "--set", "data.clients=5000"], "5000"),
        (["check", "exp.toml", "--data", "--set", "data.source=dijits"], "did you mean 'digits'?"),
        (["check", "exp.toml", "--data", "--set", "model.weights=none.safetensors"], "none.safe"),
        (["simulate", "exp.toml", "--set", "data.clients=5000"], "5000"),
        (["simulate", "exp.toml", "--set", "data.source=none.csv"], "none.csv"),
        (["partition", "exp.toml"], "--plot"),
        (["list", "strategy"], "did you mean 'strategies'?"),
        (["report", "nowhere"], "nowhere"),
        (["resume", "nowhere"], "nowhere"),
        (["export", "nowhere"], "nowhere"),
        (["pretrain", "exp.toml", "--out", "backbone.pth"], "backbone.safetensors"),
        (["pretrain", "exp.toml", "--out", "no/backbone.safetensors"], "no such folder"),
        (["pretrain", "exp.toml", "--out", "b.safetensors", "--epochs", "0"], "epochs"),
        (["data", "fetch", "minst"], "mnist"),
        (["client", "--server", "127.0.0.1:1", "--data", "nothing"], "nothing"),
        (["server", "--host", "0.0.0.0"], "--insecure"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(umbel, tmp_path, arguments, line):
    before = sorted(tmp_path.rglob("*"))
    code, out, err = umbel(*arguments)
    assert code == 2 and line in err and "Traceback" not in err and out == ""
    assert len(err.strip().splitlines()) == 1
    assert sorted(tmp_path.rglob("*")) == before, "nothing is left behind"


@pytest.mark.parametrize("arguments", [["simulate"], ["nonsense"], ["check", "exp.toml", "--nope"]])
def test_wrong_usage_is_exit_code_2(umbel, arguments):
    assert umbel(*arguments)[0] == 2


def make_bad_data(folder):
    (folder / "empty").mkdir()
    (folder / "no-label.csv").write_text("a,b\n1,2\n3,4\n")
    np.savez(
        folder / "outside.npz",
        x=np.zeros((3, 2), np.float32),
        y=np.array([0, 1, 7]),
        classes=["a", "b"],
    )
    for name in ("cat", "dog"):
        (folder / "images" / name).mkdir(parents=True)
        (folder / "images" / name / "broken.png").write_bytes(b"not a picture")


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("empty", ["empty"]),
        ("no-label.csv", ["no-label.csv", "label"]),
        ("outside.npz", ["outside.npz", "7"]),
        ("images", ["broken.png"]),
    ],
)
def test_bad_data_is_one_line_and_exit_code_2(umbel, tmp_path, source, words):
    make_bad_data(tmp_path)
    code, _, err = umbel("simulate", "exp.toml", "--set", f"data.source={source}", "--out", "run")
    assert code == 2 and len(err.strip().splitlines()) == 1
    assert all(word in err for word in words)
    assert not (tmp_path / "run").exists()


def test_simulate_prints_rounds_a_table_and_the_run_folder(umbel, tmp_path):
    code, out, err = umbel("simulate", "exp.toml", "--out", "run")
    assert code == 0 and out == ""
    assert "round 2/2" in err and "accuracy" in err and "run" in err.splitlines()[-1]
    assert (tmp_path / "run" / "report.html").exists()


def test_json_is_the_only_thing_on_standard_output(umbel):
    code, out, err = umbel("simulate", "exp.toml", "--out", "run", "--json")
    found = json.loads(out)
    assert code == 0 and out.count("\n") == 1 and err
    assert found["status"] == "finished" and found["rounds"] == 2
    assert len(found["model_sha256"]) == 64 and found["run"] == "run"


def test_a_folder_with_a_run_is_not_overwritten(umbel, tmp_path):
    umbel("simulate", "exp.toml", "--out", "run")
    before = (tmp_path / "run" / "metrics.jsonl").read_bytes()
    code, _, err = umbel("simulate", "exp.toml", "--out", "run")
    assert code == 2 and "holds a run already" in err
    assert (tmp_path / "run" / "metrics.jsonl").read_bytes() == before


def test_edges_that_are_left_out_are_told_once(tmp_path):
    """In a process of its own: what shows a warning that nobody asked for is Python's default."""
    pytest.importorskip("torch_geometric", reason="the extra `graph` is not installed")
    edges = [[0, 1], [1, 0], [2, 2], [0, 1], [1, 2], [2, 3]]
    np.savez(tmp_path / "g.npz", x=np.eye(4, 3), y=np.arange(4) % 2, edges=edges)
    settings = ["data.source=g.npz", "data.clients=2", "experiment.rounds=1"]
    settings += ["paradigm.name=nodes", "model={name='gcn', hidden=2}"]
    (tmp_path / "exp.toml").write_text("")
    set_ = [part for setting in settings for part in ("--set", setting)]
    command = [sys.executable, "-m", "umbel", "simulate", "exp.toml", *set_]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    [line] = [line for line in ended.stderr.splitlines() if "left out" in line]
    assert line.endswith("g.npz: 1 loops and 2 repeated edges left out")


def test_list_tells_meaning_paper_and_parameters(umbel):
    code, out, _ = umbel("list", "strategies", "--json")
    entries = {entry["name"]: entry for entry in json.loads(out)}
    assert code == 0 and "arXiv 1602.05629" in entries["fedavg"]["paper"]
    assert entries["fedavg"]["parameters"]["fraction"] == "1.0"
    assert entries["fedavg"]["streams"] is True and entries["median"]["streams"] is False
    assert entries["gcfl"]["clusters"] is True and entries["fedavg"]["clusters"] is False
    assert "every update" in umbel("list", "strategies")[1]
    for kind in ("paradigms", "models", "datasets", "partitioners"):
        assert umbel("list", kind)[0] == 0


def test_partition_draws_and_writes_shards_that_a_client_can_read(umbel, tmp_path):
    from umbel.data import make_shards, read_shard
    from umbel.experiment import load

    code, _, _ = umbel("partition", "exp.toml", "--plot", "p.png", "--out", "shards")
    assert code == 0 and (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")
    source = make_shards(load(tmp_path / "exp.toml"))
    for index in range(3):
        shard, made = read_shard(tmp_path / "shards" / f"client-{index}"), source.shard(index)
        assert shard.client == made.client and shard.schema == made.schema
        for name, array in made.arrays.items():
            assert shard.arrays[name].tobytes() == array.tobytes()
            assert shard.arrays[name].dtype == array.dtype


def test_report_is_written_anew(umbel, tmp_path):
    umbel("simulate", "exp.toml", "--out", "run")
    (tmp_path / "run" / "report.html").unlink()
    code, out, _ = umbel("report", "run")
    assert code == 0 and out.strip().endswith("report.html")
    assert (tmp_path / "run" / "report.html").exists()


def test_an_interrupted_simulation_exits_with_130_and_resumes_to_the_same_bytes(tmp_path, umbel):
    """Interrupted by a real signal to a real process."""
    rounds = ["--set", "experiment.rounds=400"]
    command = [sys.executable, "-m", "umbel", "simulate", "exp.toml", "--out", "run", *rounds]
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, env=dict(os.environ))
    metrics = tmp_path / "run" / "metrics.jsonl"
    end = time.monotonic() + 60
    while not metrics.exists() or metrics.read_text().count("\n") < 3:
        assert time.monotonic() < end and process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    done = metrics.read_text().count("\n")
    assert 3 <= done < 400
    code, out, _ = umbel("resume", "run", "--json")
    assert code == 0 and json.loads(out)["rounds"] == 400
    assert json.loads(umbel("simulate", "exp.toml", "--out", "calm", "--json", *rounds)[1])[
        "model_sha256"
    ] == json.loads(out)["model_sha256"]  # fmt: skip
