"""Processes that are killed in mid-run cost what they were doing, and nothing else."""

from __future__ import annotations

import os
import signal

import pytest
from lab import alive, kill, wait_for


@pytest.fixture
def gated(lab):
    """An experiment of three rounds whose second waits at a gate."""
    return lab.experiment(
        experiment={"rounds": 3},
        paradigm={"name": "gated:Gated", "gate": str(lab.folder / "gate")},
    )


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The model of the gated experiment when nobody is killed."""
    from lab import Lab

    lab = Lab(tmp_path_factory.mktemp("undisturbed"))
    (lab.folder / "gate").touch()
    path = lab.experiment(
        experiment={"rounds": 3},
        paradigm={"name": "gated:Gated", "gate": str(lab.folder / "gate")},
    )
    return lab.umbel("simulate", path, "--out", "run")[0]["model_sha256"]


def at_the_gate(lab) -> int:
    """Wait until a client waits at the gate; its process id."""
    gate = lab.folder / "gate"
    return int(wait_for(lambda: gate.exists() and gate.read_text(), "client at the gate"))


def not_twice(lab, *command) -> None:
    """A second process is told that the first is at work, and changes nothing."""
    before = (lab.folder / "run" / "environment.json").read_bytes()
    _, said = lab.umbel(*(command or ("resume", "run")), code=2)
    assert said.splitlines()[-1].startswith("umbel: run: another umbel is at work there")
    assert (lab.folder / "run" / "environment.json").read_bytes() == before


def test_client_of_up_is_started_again_and_does_its_work_over(lab, gated, undisturbed):
    process = lab.start("up", gated, "--out", "run", "--json")
    kill(at_the_gate(lab))
    _, said = process.communicate(timeout=180)
    assert process.returncode == 0, said.decode()
    assert "was killed by signal 9" in said.decode()
    assert lab.sha256("run") == undisturbed
    assert [record["failures"] for record in lab.records("run")] == [[], [], []]


def test_client_that_stays_away_costs_the_round_its_update_and_may_come_back(lab, gated):
    lab.shards(gated)
    address, _ = lab.server()
    names = ("client-0", "client-1")
    clients = {name: lab.client(address, name, "--allow-import", "gated") for name in names}
    node = {name: lab.joined(name) for name in names}
    run = lab.start("run", gated, "--server", address, "--out", "run", "--json")
    pid = at_the_gate(lab)
    victim = next(name for name in names if clients[name].pid == pid)
    other = next(name for name in names if name != victim)
    kill(pid)
    clients[victim].wait()
    wait_for(lambda: len(lab.records("run")) >= 2, "round 2 without the victim")
    lab.client(address, victim, "--allow-import", "gated")
    _, said = run.communicate(timeout=180)
    assert run.returncode == 0, said.decode()
    assert lab.joined(victim, times=2) == node[victim], "it came back as another node"
    second = {row["client"]: row for row in lab.records("run")[1]["clients"]}
    assert second[other]["status"] == "ok"
    assert second[victim]["status"] == "failed"


def test_server_of_up_is_killed_and_resumed(lab, gated, undisturbed):
    process = lab.start("up", gated, "--out", "run", log="up.log")
    client = at_the_gate(lab)
    not_twice(lab)
    kill(process.pid)
    process.wait()
    wait_for(lambda: not alive(client), "end of the orphaned client")
    assert len(lab.records("run")) == 1
    result, _ = lab.umbel("resume", "run")
    assert result["model_sha256"] == undisturbed
    assert [record["round"] for record in lab.records("run")] == [1, 2, 3]


def test_server_of_run_is_killed_and_resumed_with_the_same_clients(lab, gated, undisturbed):
    lab.shards(gated)
    address, _ = lab.server()
    for name in ("client-0", "client-1"):
        lab.client(address, name, "--allow-import", "gated")
    process = lab.start("run", gated, "--server", address, "--out", "run", log="run.log")
    at_the_gate(lab)
    not_twice(lab)
    not_twice(lab, "run", gated, "--server", address, "--out", "run", "--resume")
    kill(process.pid)
    process.wait()
    (lab.folder / "gate.open").touch()
    result, _ = lab.umbel("resume", "run")
    assert result["model_sha256"] == undisturbed


def test_killed_superlink_ends_the_run_and_its_clients_come_back(lab, gated, undisturbed):
    lab.shards(gated)
    address, superlink = lab.server()
    for name in ("client-0", "client-1"):
        lab.client(address, name, "--allow-import", "gated")
    process = lab.start("run", gated, "--server", address, "--out", "run", log="run.log")
    at_the_gate(lab)
    kill(process.pid)
    process.wait()
    os.killpg(superlink.pid, signal.SIGKILL)
    superlink.wait()
    (lab.folder / "gate.open").touch()
    lab.server(port=int(address.rpartition(":")[2]))
    result, _ = lab.umbel("resume", "run")
    assert result["model_sha256"] == undisturbed
    assert [record["failures"] for record in lab.records("run")] == [[], [], []]


def test_interrupted_up_leaves_no_process_behind(lab, gated):
    process = lab.start("up", gated, "--out", "run")
    client = at_the_gate(lab)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said.decode()
    assert not alive(client)
