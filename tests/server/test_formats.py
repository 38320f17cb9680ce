"""A run of another version of umbel is refused in one line that says whose it is."""

from __future__ import annotations

import json

import pytest

from umbel.tensors import read_tensors, write_tensors
from umbel.wire import version_of

CHECKPOINT = "checkpoint/latest.safetensors"


@pytest.fixture
def cut(umbel, tmp_path):
    """A run that is not at its end, and how to change what its checkpoint says."""
    assert umbel("simulate", "exp.toml", "--out", "run")[0] == 0
    toml = tmp_path / "run" / "experiment.toml"
    toml.write_text(toml.read_text().replace("rounds = 2", "rounds = 3"))

    def change(**metadata):
        path = tmp_path / "run" / CHECKPOINT
        tensors, known = read_tensors(path)
        made = {key: value for key, value in {**known, **metadata}.items() if value is not None}
        write_tensors(path, tensors, made)

    return change


def test_an_untouched_checkpoint_goes_on(umbel, cut):
    cut()
    code, out, err = umbel("resume", "run", "--json")
    assert code == 0 and json.loads(out)["rounds"] == 3, err


@pytest.mark.parametrize(
    ("metadata", "words"),
    [
        (
            {"format": "7", "umbel": "9.9.9"},
            [
                "made by umbel 9.9.9 in format 7",
                f"this is umbel {version_of('umbel')}, which reads",
            ],
        ),
        ({"format": None, "umbel": None}, ["no format number", "this is umbel"]),
        ({"facts": '{"driver": {}, "stop": {}, "reason": ""}'}, ["does not fit this umbel"]),
        ({"facts": '{"driver": {"begun": ["step"], "seen": {"0": [1, 2, 3, 4, 5]}}}'}, ["Seen"]),
        ({"facts": '["a", "list"]'}, ["does not fit this umbel"]),
    ],
    ids=["newer", "before formats", "a fact is missing", "a fact of another shape", "no facts"],
)
def test_a_checkpoint_of_another_umbel(umbel, cut, tmp_path, metadata, words):
    cut(**metadata)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    code, out, err = umbel("resume", "run")
    assert code == 2 and out == "" and len(err.strip().splitlines()) == 1, err
    for word in [f"run/{CHECKPOINT}", *words, "go on with the umbel that made it"]:
        assert word in err
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_a_damaged_checkpoint(umbel, cut, tmp_path):
    path = tmp_path / "run" / CHECKPOINT
    path.write_bytes(path.read_bytes()[:-9])
    code, _, err = umbel("resume", "run")
    assert code == 1 and "cannot be read" in err and len(err.strip().splitlines()) == 1


def test_a_run_folder_that_does_not_say_how_it_was_started(umbel, cut, tmp_path):
    path = tmp_path / "run" / "environment.json"
    facts = json.loads(path.read_text())
    for runtime, option in (("up", "stock_nodes"), ("run", "server")):
        path.write_text(json.dumps({**facts, "runtime": runtime, "options": {}}))
        code, _, err = umbel("resume", "run")
        assert code == 2 and f"environment.json: does not say '{option}'" in err
        assert len(err.strip().splitlines()) == 1
