"""Hosts of their own over bad lines: lossy, far away, slow, cut (`hosts`)."""

from __future__ import annotations

import json
import signal
import time

import hosts as hosts_module
import pytest
from federation import Federation
from hosts import Hosts
from lab import DEADLINE, kill, wait_for

from umbel.client.fleet import OFFLINE_SECONDS

pytestmark = pytest.mark.skipif(bool(hosts_module.missing()), reason=hosts_module.missing())


@pytest.fixture
def hosts():
    """Host 1 has the server, 2 and 3 a client each, 4 the run."""
    with Hosts(4) as made:
        yield made


def big(lab, rounds=1, deadline=600.0, **sections):
    """An experiment whose model has 0.3 M parameters: ten seconds at 1 Mbit/s."""
    return lab.experiment(
        experiment={"rounds": rounds},
        model={"name": "mlp", "hidden": [4000]},
        evaluation={"every": 9, "federated": False},
        server={"deadline": deadline},
        **sections,
    )


def undisturbed(lab, path) -> str:
    return lab.umbel("simulate", path, "--out", "calm")[0]["model_sha256"]


def test_slow_uplink_is_not_late_while_its_bytes_move(lab, hosts):
    """Its transfer takes five deadlines."""
    path = big(lab, deadline=3.0)
    lab.shards(path)
    expected = undisturbed(lab, path)
    federation = Federation(lab, hosts)
    hosts[2].up.rate = 6e5
    run = federation.run(path)
    [record] = federation.ends(run)
    assert lab.sha256("run") == expected
    assert record["seconds"]["train"] > 15.0, "1.2 MB at 0.6 Mbit/s"
    assert "waiting for client-0 until" in federation.said()
    assert "client-0 has sent" in federation.said()


def test_loss_and_latency_cost_time_and_nothing_else(lab, hosts):
    path = lab.experiment()
    lab.shards(path)
    expected = undisturbed(lab, path)
    federation = Federation(lab, hosts)
    for number in (2, 3):
        for line in (hosts[number].up, hosts[number].down):
            line.loss, line.delay = 0.1, 0.15
    federation.ends(federation.run(path))
    assert lab.sha256("run") == expected


def test_cut_in_mid_round_is_outlived(lab, hosts):
    """Both lines, to a client and to the run, are dead for a while in the middle of a round."""
    gate = lab.folder / "gate"
    gate.touch()
    paradigm = {"name": "gated:Gated", "gate": str(gate)}
    path = lab.experiment(experiment={"rounds": 3}, paradigm=paradigm)
    lab.shards(path)
    expected = undisturbed(lab, path)
    gate.unlink()
    federation = Federation(lab, hosts)
    run = federation.run(path)
    wait_for(gate.exists, "client at the gate")
    cut = time.monotonic()
    for number in (2, 3, 4):
        hosts[number].cut()
    (lab.folder / "gate.open").touch()
    wait_for(lambda: "the run (" in federation.said(), "word of the cut")
    for number in (2, 3, 4):
        hosts[number].mend()
    if time.monotonic() - cut > OFFLINE_SECONDS / 2:
        # A machine as slow as this may take clients for dead meanwhile, as is promised.
        assert run.wait(DEADLINE) == 0, federation.said()
        return
    federation.ends(run)
    assert lab.sha256("run") == expected


def sending(federation):
    """Wait until client-0 is in the middle of its upload."""
    began = federation.hosts[2].sent
    wait_for(lambda: federation.hosts[2].sent - began > 400_000, "bytes of client-0")


def test_client_told_to_end_in_mid_transfer_ends_and_sends_it_again(lab, hosts):
    path = big(lab, deadline=60.0)
    lab.shards(path)
    expected = undisturbed(lab, path)
    federation = Federation(lab, hosts)
    hosts[2].up.rate = 1e6
    run = federation.run(path)
    sending(federation)
    client = federation.clients["client-0"]
    client.send_signal(signal.SIGTERM)
    client.wait(10)
    hosts[2].up.rate = 0.0
    federation.client("client-0")
    federation.ends(run)
    assert lab.sha256("run") == expected


def test_run_killed_in_mid_upload_does_not_hold_its_clients(lab, hosts):
    """They wait for the rest of a model; the resumed run frees them, long before the SuperLink's
    180 s for an upload that has stopped."""
    path = big(lab)
    lab.shards(path)
    expected = undisturbed(lab, path)
    federation = Federation(lab, hosts)
    hosts[4].up.rate = 1e6
    run = federation.run(path)
    began = hosts[4].sent
    wait_for(lambda: hosts[4].sent - began > 400_000, "bytes of the run")
    kill(run.pid)
    run.wait()
    environment = json.loads((lab.folder / "run" / "environment.json").read_text())
    assert environment["flower_run"]
    hosts[4].up.rate = 0.0
    resumed = federation.resume()
    assert resumed.wait(50) == 0, federation.said()
    federation.ends(resumed)
    assert lab.sha256("run") == expected
