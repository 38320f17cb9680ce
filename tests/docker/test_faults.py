"""Containers die, hang and lose their network in mid-run: the same bytes, or one lost update."""

from __future__ import annotations

import re
import time

import pytest
from compose import docker, wait_for

from umbel.client.fleet import OFFLINE_SECONDS

pytestmark = pytest.mark.slow
VICTIM = "client-1"


@pytest.fixture
def going(plain):
    begin(plain, "tests/docker/long.toml")
    return plain


def begin(made, experiment: str) -> None:
    """Start a run, and wait until the victim works on the second round."""
    before = made.runs()
    made.up(experiment=experiment)
    wait_for(lambda: re.search(r"round +1/", made.logs("run")), "first round")
    wait_for(lambda: at_work(made), f"{VICTIM} at work in round 2")
    assert len(made.records()) == 1 and len(made.runs()) == len(before) + 1


def at_work(made) -> bool:
    """Whether the victim works on a message that takes long."""
    note = docker("exec", made.id(VICTIM), "sh", "-c", "ls state/under-way.bin || true")
    return note == "state/under-way.bin"


def finished(made, digest: str) -> None:
    """The run ended by itself, as if nothing had been."""
    made.ended()
    assert [record["round"] for record in made.records()] == [1, 2, 3]
    assert made.failures() == []
    assert made.sha256() == digest


def went_on_without(made, rounds: int) -> list[int]:
    """The rounds that missed the victim's update; the run ended by itself, and lost no other."""
    made.ended()
    assert [record["round"] for record in made.records()] == list(range(1, rounds + 1))
    lost = [(round, client) for round, client, _ in made.failures()]
    assert {client for _, client in lost} == {VICTIM}
    return sorted({round for round, _ in lost})


def test_a_killed_client_does_its_work_over(going, long):
    killed = time.monotonic()
    going.kill(VICTIM)
    assert going.shell(VICTIM, "ls /umbel/state/under-way.bin")
    docker("start", going.id(VICTIM))
    wait_for(lambda: " joined " in going.logs(VICTIM), "the victim back")
    if time.monotonic() - killed < OFFLINE_SECONDS:
        finished(going, long)
    else:  # a machine that is as slow as this takes it for dead meanwhile, as is promised
        assert went_on_without(going, rounds=3)[0] == 2


def cut(made, seconds: int) -> None:
    """Take the victim's network away for some seconds."""
    network, container = f"{made.name}_clients", made.id(VICTIM)
    docker("network", "disconnect", network, container)
    docker("run", "--rm", "--entrypoint", "sleep", made.image, seconds)
    docker("network", "connect", "--alias", VICTIM, network, container)


def test_a_client_without_network_for_8_s_loses_nothing(going, long):
    cut(going, 8)
    finished(going, long)


def test_a_client_without_network_for_30_s_costs_the_rounds_that_it_missed(going):
    cut(going, 30)
    assert went_on_without(going, rounds=3)[0] == 2
    missed = [failure for record in going.records() for failure in record["failures"]]
    assert all(failure["status"] == "failed" and failure["reason"] for failure in missed)
    assert "failed to report a heartbeat" in missed[0]["reason"]


def test_a_killed_superlink_comes_back(going, long):
    going.kill("superlink")
    going.up()
    finished(going, long)


def test_a_killed_run_goes_on(going, long):
    runs = going.runs()
    going.kill("run")
    going.up()
    finished(going, long)
    assert going.runs() == runs
    assert f"going on with runs/{runs[-1]}" in going.logs("run")


def test_a_killed_superlink_and_run_go_on(going, long):
    runs = going.runs()
    going.kill("superlink", "run")
    going.up()
    finished(going, long)
    assert going.runs() == runs


def test_a_client_that_hangs_past_the_deadline_costs_one_update(plain):
    plain.up(experiment="tests/docker/hang.toml")
    wait_for(lambda: re.search(r"round +1/", plain.logs("run")), "first round")
    docker("pause", plain.id(VICTIM))
    try:
        wait_for(lambda: plain.failures(), "a round without the victim")
    finally:
        docker("unpause", plain.id(VICTIM))
    assert len(went_on_without(plain, rounds=8)) == 1
