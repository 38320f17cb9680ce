"""A reply counts once, however often it is sent, and not at all when it is too late."""

from __future__ import annotations

import signal

from lab import DEADLINE, wait_for

PROGRAM = "again_client.py"


def test_reply_counts_once_though_the_answer_to_its_push_was_lost(lab, simulated):
    """The client sends every request of a reply twice, as one that lost the first answer, and
    the whole reply once more at the end."""
    path = lab.experiment()
    lab.shards(path)
    address, _ = lab.server()
    lab.client(address, "client-0")
    shard, state = lab.folder / "shards" / "client-1", lab.folder / "states" / "client-1"
    lab.start(PROGRAM, address, shard, state, log="client-1.log")
    lab.joined("client-1")
    result, _ = lab.umbel("run", path, "--server", address, "--out", "run")
    assert result["model_sha256"] == simulated
    rows = [[row["client"] for row in record["clients"]] for record in lab.records("run")]
    assert rows == [["client-0", "client-1"]] * 2
    assert [record["failures"] for record in lab.records("run")] == [[], []]
    said = (lab.folder / "client-1.log").read_text()
    assert said.count("sent again: PushMessages") >= 2 and "sent again: PushObject" in said


def test_late_reply_is_recorded_as_late_and_not_used(lab):
    """It comes while the next round is under way."""
    path = lab.experiment(experiment={"rounds": 3}, server={"deadline": 3.0})
    lab.shards(path)
    address, _ = lab.server()
    lab.client(address, "client-0")
    shard, state = lab.folder / "shards" / "client-1", lab.folder / "states" / "late"
    lab.start(
        "bad_client.py", address, shard, state, "hang=4", "raise", "raise", log="client-1.log"
    )
    lab.joined("client-1")
    lab.umbel("run", path, "--server", address, "--out", "late")
    records = lab.records("late")
    rows = [{row["client"]: row for row in record["clients"]} for record in records]
    assert [row["client-1"]["status"] for row in rows] == ["late", "failed", "failed"]
    said = lab.folder / "client-1.log"
    wait_for(lambda: "answered train of round 1" in said.read_text(), "late reply")
    lab.close()
    alone = lab.experiment(experiment={"rounds": 3}, data={"clients": 2})
    address, _ = lab.server()
    lab.client(address, "client-0")
    state = lab.folder / "states" / "raising"
    lab.start("bad_client.py", address, shard, state, "raise", "raise", "raise", log="raising.log")
    lab.joined("raising")
    lab.umbel("run", alone, "--server", address, "--out", "without")
    assert lab.sha256("late") == lab.sha256("without")


def test_a_message_is_given_again_to_a_client_that_died_before_it_noted_it(lab, simulated):
    path = lab.experiment()
    lab.shards(path)
    address, _ = lab.server()
    lab.client(address, "client-0")
    shard, state = lab.folder / "shards" / "client-1", lab.folder / "states" / "client-1"
    hasty = lab.start("hasty_client.py", address, shard, state, log="hasty.log")
    wait_for(lambda: "joined" in (lab.folder / "hasty.log").read_text(), "the hasty client")
    run = lab.start("run", path, "--server", address, "--out", "run", log="run.log")
    assert hasty.wait(DEADLINE) == -signal.SIGKILL
    assert not (state / "under-way.bin").exists()
    lab.client(address, "client-1")
    assert run.wait(DEADLINE) == 0
    assert [record["failures"] for record in lab.records("run")] == [[], []]
    assert lab.sha256("run") == simulated
