from __future__ import annotations

import json
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from run_folders import make_record, make_run

from umbel.errors import UmbelError
from umbel.rounds import (
    Record,
    client_counts,
    failures,
    flatten,
    headline_metric,
    human_bytes,
    printable,
    read_records,
    selection,
    training_loss,
)


def test_no_file_is_no_rounds(tmp_path: Path) -> None:
    assert read_records(tmp_path / "metrics.jsonl") == []


@pytest.mark.parametrize("tail", [b'{"round": 4, "lo', b"\x00\x00\x00", b"{}\n", b"\xff\n"])
def test_a_last_line_cut_short_by_a_crash_is_left_out(tmp_path: Path, tail: bytes) -> None:
    path = make_run(tmp_path, rounds=3) / "metrics.jsonl"
    path.write_bytes(path.read_bytes() + tail)
    assert [record["round"] for record in read_records(path)] == [1, 2, 3]


@given(st.integers(min_value=0))
def test_a_file_cut_anywhere_gives_its_whole_rounds(cut: int) -> None:
    lines = [json.dumps(make_record(round, ["client-0"])).encode() + b"\n" for round in (1, 2, 3)]
    whole = b"".join(lines)
    cut %= len(whole) + 1
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "metrics.jsonl"
        path.write_bytes(whole[:cut])
        found = [record["round"] for record in read_records(path)]
    ends = [len(b"".join(lines[:count])) - 1 for count in (1, 2, 3)]
    assert found == [1, 2, 3][: sum(end <= cut for end in ends)]


def test_damage_before_the_last_line_is_an_error_that_names_the_line(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"round": 1}\n{"rou\n{"round": 3}\n')
    with pytest.raises(UmbelError, match="line 2 is not a round"):
        read_records(path)


def test_a_round_done_twice_counts_as_done_last(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"round": 1}\n{"round": 2, "loss": 9}\n{"round": 2, "loss": 1}\n')
    assert [record.get("loss") for record in read_records(path)] == [None, 1]


def test_flat_columns() -> None:
    row = flatten(make_record(2, ["client-0", "client-1"], failing="client-1"))
    assert (row["clients_ok"], row["clients_failed"]) == (1, 1)
    assert (row["bytes_up"], row["bytes_down"]) == (35_000, 70_000)
    assert {"federated_accuracy", "central_accuracy", "train_loss", "seconds_train"} <= set(row)
    assert row["seconds"] == pytest.approx(0.531)


def test_what_is_not_finite_is_missing() -> None:
    record = {"round": 1, "loss": float("nan"), "metrics": {"central": {"loss": float("inf")}}}
    assert training_loss(record) is None
    assert flatten(record)["central_loss"] is None


def test_seconds_without_a_total_are_the_sum_of_the_phases() -> None:
    assert flatten({"round": 1, "seconds": {"train": 1.0, "combine": 0.5}})["seconds"] == 1.5


def test_failures_are_listed_once() -> None:
    record = {
        "round": 3,
        "clients": [
            {"client": "a", "status": "ok"},
            {"client": "b", "status": "late", "reason": "60 s passed"},
            {"client": "c", "status": "failed", "reason": "it raised"},
        ],
        "failures": [{"client": "b", "status": "late", "reason": "60 s passed"}, "a strange one"],
    }
    found = [(failure.client, failure.status, failure.reason) for failure in failures([record])]
    assert found == [
        ("b", "late", "60 s passed"),
        ("", "failed", "a strange one"),
        ("c", "failed", "it raised"),
    ]
    assert client_counts(record) == (1, 3)


def test_the_headline_metric_is_accuracy_where_it_is_there() -> None:
    records: list[Record] = [
        {"round": 1},
        {"round": 2, "metrics": {"federated": {"accuracy": 1, "auc": 1}}},
    ]
    assert headline_metric(records) == "accuracy"
    assert headline_metric([{"round": 1, "metrics": {"central": {"rmse": 1, "loss": 2}}}]) == "rmse"
    assert headline_metric([]) == "accuracy"


@given(st.integers(min_value=1, max_value=100_000), st.integers(min_value=4, max_value=40))
def test_a_selection_has_both_ends_and_is_short(count: int, most: int) -> None:
    chosen = selection(count, most)
    assert len(chosen) <= most
    assert (chosen[0], chosen[-1]) == (0, count - 1)
    assert list(chosen) == sorted(set(chosen))


@given(st.text(), st.integers(min_value=3, max_value=50))
def test_printable_is_one_short_line_without_control_characters(text: str, width: int) -> None:
    shown = printable(text, width)
    assert len(shown) <= width
    assert all(letter.isprintable() for letter in shown)


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (1000, "1.00 kB"), (999_600, "1.00 MB"), (1e9, "1.00 GB"), (5e18, "5000 PB")],
)
def test_bytes_for_people(count: float, text: str) -> None:
    assert human_bytes(count) == text
