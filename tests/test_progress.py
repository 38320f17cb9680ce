from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from run_folders import make_record, make_run

from umbel.progress import Progress, display
from umbel.rounds import read_records
from umbel.server.observer import Observer, Silent

EVIL = "evil\x1b[2J[bold red]\nname"


def watch(progress: Observer, folder: Path, first_round: int = 1, *, fail: str = "") -> None:
    """Show a run folder's rounds to an observer, as the round loop does."""
    records = read_records(folder / "metrics.jsonl")
    experiment = SimpleNamespace(experiment=SimpleNamespace(name="digits", rounds=len(records)))
    progress.started(experiment, 3, first_round)  # type: ignore[arg-type]
    for record in records[first_round - 1 :]:
        progress.round_started(record["round"], ["client-0", "client-1", fail or "client-2"])
        progress.reply("client-0", ok=True)
        progress.reply("client-1", ok=True)
        progress.reply(fail or "client-2", ok=not fail, reason="it raised ValueError")
        progress.round_finished(record)
    place = SimpleNamespace(path=folder, metrics=folder / "metrics.jsonl")
    summary = SimpleNamespace(status="finished", reason="", folder=place)
    progress.finished(summary)  # type: ignore[arg-type]


def shown(folder: Path, *, fail: str = "", first_round: int = 1) -> str:
    stream = io.StringIO()
    watch(Progress(stream), folder, first_round, fail=fail)
    return stream.getvalue()


def test_off_a_terminal_there_is_one_line_a_round_and_no_escape_codes(tmp_path: Path) -> None:
    text = shown(make_run(tmp_path, rounds=3))
    lines = [line for line in text.splitlines() if "/3  " in line]
    assert len(lines) == 3
    assert "federated accuracy 0.4192" in lines[0]
    assert "3 ok  105 kB up  105 kB down" in lines[0]
    assert "2 ok, 1 failed" in lines[1]
    assert "\x1b" not in text


def test_the_end_is_a_table_and_the_run_folder(tmp_path: Path) -> None:
    text = shown(make_run(tmp_path, rounds=3))
    table = text[text.index("federated   central") :]
    assert [line.split()[0] for line in table.splitlines()[2:5]] == ["1", "2", "3"]
    assert "105 kB" in table
    assert "finished: 3 rounds in 1.6 s, 280 kB up, 315 kB down" in table
    assert text.splitlines()[-1] == f"run folder: {tmp_path}"


def test_a_long_path_is_not_broken_into_lines(tmp_path: Path) -> None:
    folder = tmp_path / ("long" * 40)
    assert f"run folder: {folder}\n" in shown(make_run(folder, rounds=1))


def test_a_long_run_ends_in_a_short_table(tmp_path: Path) -> None:
    text = shown(make_run(tmp_path, rounds=230))
    table = text[text.index("federated   central") :].splitlines()[2:-2]
    rounds = [int(line.split()[0]) for line in table]
    assert (rounds[0], rounds[1], rounds[-2], rounds[-1]) == (1, 50, 200, 230)


def test_a_resumed_run_shows_all_its_rounds_in_the_table(tmp_path: Path) -> None:
    text = shown(make_run(tmp_path, rounds=4), first_round=3)
    assert "going on at round 3" in text
    assert "round 1/4" not in text
    assert "finished: 4 rounds" in text


def test_failures_are_named_once_and_cannot_command_the_terminal(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    record = make_record(1, ["client-0", "client-1"])
    record["failures"] = [{"client": EVIL, "status": "failed", "reason": "it raised ValueError"}]
    (folder / "metrics.jsonl").write_text(json.dumps(record) + "\n")
    text = shown(folder, fail=EVIL)
    assert text.count("it raised ValueError") == 1
    assert "round 1: evil\ufffd[2J[bold red] name: it raised ValueError" in text
    assert "\x1b" not in text


def test_many_failures_are_counted_not_listed() -> None:
    stream = io.StringIO()
    progress = Progress(stream)
    progress.round_started(1, [f"client-{index}" for index in range(100)])
    for index in range(100):
        progress.reply(f"client-{index}", ok=False, reason="gone")
    progress.round_finished({"round": 1})
    assert stream.getvalue().count("gone") == 5
    assert "round 1: 95 more failed" in stream.getvalue()


def test_a_round_without_evaluation_and_a_run_without_rounds_are_shown(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text('{"round": 1, "bytes_up": null}\n')
    assert "round 1/1  0 ok  0 B up" in shown(tmp_path)
    (tmp_path / "metrics.jsonl").write_text("")
    assert "finished: 0 rounds" in shown(tmp_path)


def test_on_a_terminal_the_line_moves_and_is_taken_away(tmp_path: Path) -> None:
    stream = io.StringIO()
    watch(Progress(stream, live=True), make_run(tmp_path, rounds=3))
    text = stream.getvalue()
    assert "round 2/3 · 0/3 in · accuracy 0.4192 · loss 1.7423" in text
    assert text.count("\x1b[?25l") == text.count("\x1b[?25h") == 1
    assert "round 3/3  " not in text


def test_the_time_left_is_told_from_the_rounds_that_ended() -> None:
    stream, now = io.StringIO(), [0.0]
    progress = Progress(stream, live=True, clock=lambda: now[0])
    experiment = SimpleNamespace(experiment=SimpleNamespace(name="digits", rounds=5))
    progress.started(experiment, 1, 2)  # type: ignore[arg-type]
    progress.round_started(2, ["client-0"])
    now[0] = 10.0
    progress.round_finished(make_record(2, ["client-0"]))
    assert "30 s left" in stream.getvalue()
    progress.round_started(3, ["client-0"])
    now[0] = 12.5
    progress.reply("client-0", ok=True)
    progress.close()
    assert "round 3/5 · 1/1 in · accuracy 0.5250 · loss 1.4250 · 28 s left" in stream.getvalue()


def test_a_run_that_fails_gives_the_terminal_back() -> None:
    stream = io.StringIO()
    progress = Progress(stream, live=True)
    experiment = SimpleNamespace(experiment=SimpleNamespace(name="digits", rounds=3))
    progress.started(experiment, 3)  # type: ignore[arg-type]
    progress.close()
    progress.close()
    assert stream.getvalue().endswith("\x1b[?25h\r\x1b[1A\x1b[2K")


def test_everything_goes_to_standard_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    watch(display(), make_run(tmp_path, rounds=2))
    written = capsys.readouterr()
    assert written.out == ""
    assert "run folder" in written.err


def test_quiet_says_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    quiet = display(quiet=True)
    watch(quiet, make_run(tmp_path, rounds=2))
    quiet.note("words")
    assert isinstance(quiet, Silent)
    assert capsys.readouterr() == ("", "")


def test_a_note_is_one_clean_line(capsys: pytest.CaptureFixture[str]) -> None:
    Progress(sys.stderr).note("2 of 3 clients are here\x07\nnow")
    assert capsys.readouterr().err == "2 of 3 clients are here\ufffd now\n"
