"""A client that breaks the rules is refused by name, and the model does not move for it."""

from __future__ import annotations

import pytest

REFUSED = {
    "raise": "RuntimeError: disk on fire",
    "nan": "not finite",
    "shape": "has shape",
    "missing": "is missing",
    "extra": "'stowaway' is not part of the model",
    "examples=0": "num_examples 0 ",
    "examples=-1": "num_examples -1 ",
    "examples=2**62": f"num_examples {2**62} ",
}


HOSTILE = {
    "bomb": "unfolds to more than 4000000000 bytes",
    "pickle": "not a safetensors blob",
    "pickled array": "not a safetensors blob",
    "object dtype": "not a safetensors blob",
    "no record": "it has no header",
    "path": "'../../../evil' is not part of the model",
    "group named as a path": "unknown group",
    "client named as a path": "answers as",
}
"""What would harm a server that trusted its clients, and the reason that it gives."""


@pytest.fixture
def run_with(lab):
    """Runs an experiment with one honest client and one that breaks a rule a round."""

    def run(faults, out, **sections):
        path = lab.experiment(experiment={"rounds": len(faults)}, **sections)
        if not (lab.folder / "shards").exists():
            lab.shards(path)
        address, _ = lab.server()
        lab.client(address, "client-0")
        shard, state = lab.folder / "shards" / "client-1", lab.folder / "states" / out
        bad = lab.start("bad_client.py", address, shard, state, *faults, log=f"{out}.log")
        lab.umbel("run", path, "--server", address, "--out", out)
        lab.close()
        assert bad.returncode == 0, (lab.folder / f"{out}.log").read_text()
        return lab.records(out)

    return run


def test_broken_rules_are_refused_by_name_and_leave_the_model_alone(lab, run_with):
    records = run_with(list(REFUSED), "bad")
    for record, reason in zip(records, REFUSED.values(), strict=True):
        rows = {row["client"]: row for row in record["clients"]}
        assert rows["client-0"]["status"] == "ok"
        assert rows["client-1"]["status"] == ("failed" if "fire" in reason else "refused")
        assert reason in rows["client-1"]["reason"]
        assert [failure["client"] for failure in record["failures"]] == ["client-1"]
    run_with(["raise"] * len(REFUSED), "absent")
    assert lab.sha256("bad") == lab.sha256("absent")


def test_replies_that_would_harm_the_server_cost_their_sender_the_update(lab, run_with):
    records = run_with(list(HOSTILE), "hostile")
    for record, reason in zip(records, HOSTILE.values(), strict=True):
        rows = {row["client"]: row for row in record["clients"]}
        assert rows["client-0"]["status"] == "ok"
        assert rows["client-1"]["status"] in ("failed", "refused")
        assert reason in rows["client-1"]["reason"], (record["round"], rows["client-1"])
    run_with(["raise"] * len(HOSTILE), "absent")
    assert lab.sha256("hostile") == lab.sha256("absent")
    assert not list(lab.folder.rglob("*evil*"))


def test_client_that_hangs_past_the_deadline_is_late_and_has_no_backlog(lab, run_with):
    server = {"deadline": 3.0}
    records = run_with(["hang=5", "none", "none", "none"], "hangs", server=server)
    rows = [{row["client"]: row for row in record["clients"]} for record in records]
    assert rows[0]["client-1"]["status"] == "late"
    assert rows[0]["client-0"]["status"] == "ok"
    assert [row["client-1"]["status"] for row in rows[1:]] == ["ok", "ok", "ok"]
