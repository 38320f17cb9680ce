"""A SuperLink that goes away in mid-run is waited for, and the run goes on by itself."""

from __future__ import annotations

import os
import signal

import pytest
from lab import Lab, wait_for


def with_gate(lab):
    return lab.experiment(
        experiment={"rounds": 3},
        paradigm={"name": "gated:Gated", "gate": str(lab.folder / "gate")},
        server={"reconnect": 150.0},
    )


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The model of the gated experiment when nothing is cut."""
    lab = Lab(tmp_path_factory.mktemp("undisturbed"))
    (lab.folder / "gate").touch()
    return lab.umbel("simulate", with_gate(lab), "--out", "run")[0]["model_sha256"]


@pytest.fixture
def federation(lab):
    """A server, two clients, and a run whose second round waits at a gate."""
    return begun(lab)


def begun(lab, *options):
    path = with_gate(lab)
    lab.shards(path)
    address, superlink = lab.server(None, *options)
    for name in ("client-0", "client-1"):
        lab.client(address, name, "--allow-import", "gated")
    run = lab.start("run", path, "--server", address, "--out", "run", log="run.log")
    wait_for((lab.folder / "gate").exists, "client at the gate")
    return address, superlink, run


def killed(superlink):
    os.killpg(superlink.pid, signal.SIGKILL)
    superlink.wait()


def test_run_outlives_its_superlink_and_both_clients_too(lab, federation, undisturbed):
    address, superlink, run = federation
    killed(superlink)
    said = lab.folder / "run.log"
    wait_for(lambda: f"waiting for the SuperLink {address} until" in said.read_text(), "wait")
    (lab.folder / "gate.open").touch()
    lab.server(port=int(address.rpartition(":")[2]))
    assert run.wait(180) == 0, said.read_text()
    assert "going on at round 2" in said.read_text()
    assert_undisturbed(lab, undisturbed)


def assert_undisturbed(lab, digest):
    assert lab.sha256("run") == digest
    assert [record["round"] for record in lab.records("run")] == [1, 2, 3]
    assert [record["failures"] for record in lab.records("run")] == [[], [], []]


def test_a_superlink_with_a_database_is_killed_and_knows_its_nodes_again(lab, undisturbed):
    database = ("--database", lab.folder / "kept" / "server.db")
    address, superlink, run = begun(lab, *database)
    nodes = {name: lab.joined(name) for name in ("client-0", "client-1")}
    killed(superlink)
    said = lab.folder / "run.log"
    wait_for(lambda: f"waiting for the SuperLink {address} until" in said.read_text(), "wait")
    lab.server(int(address.rpartition(":")[2]), *database)
    (lab.folder / "gate.open").touch()
    assert run.wait(180) == 0, said.read_text()
    assert_undisturbed(lab, undisturbed)
    rows, _ = lab.umbel("nodes", "--server", address)
    assert {row["name"]: row["node"] for row in rows if row["status"] == "online"} == nodes
    assert database[1].stat().st_mode & 0o077 == 0, "for its owner alone"


def test_run_gives_up_on_a_superlink_that_stays_away(lab):
    path = lab.experiment(server={"reconnect": 3.0, "wait": 120.0})
    address, superlink = lab.server()
    run = lab.start("run", path, "--server", address, "--out", "run", log="run.log")
    said = lab.folder / "run.log"
    wait_for(lambda: "waiting for 2 clients until" in said.read_text(), "wait for clients")
    killed(superlink)
    assert run.wait(60) == 1, said.read_text()
    assert "no SuperLink has answered for 3 s" in said.read_text()
    assert '"status": "failed"' in (lab.folder / "run" / "environment.json").read_text()
