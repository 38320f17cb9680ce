"""The documentation names everything that there is, and its examples run."""

from __future__ import annotations

import re
import runpy
from collections.abc import Iterator
from pathlib import Path
from types import NoneType
from typing import Any, get_args

import click
import pytest
import typer
from pydantic import BaseModel

import umbel
from umbel import registry
from umbel.cli import app
from umbel.client.policy import Policy
from umbel.data.carriers import CARRIERS, locate
from umbel.errors import BadInput
from umbel.experiment import Experiment, check

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
LEAST_ROUNDS = {"label-propagation.toml": 7, "mixture.toml": 21}
"""Of examples whose model takes several rounds before it is one."""

TOMLS = sorted(set((ROOT / "examples").glob("*.toml")) - {ROOT / "examples" / "site.toml"})


def commands(command: click.Command, name: str = "umbel") -> Iterator[tuple[str, click.Command]]:
    if isinstance(command, click.Group):
        for word, child in command.commands.items():
            yield from commands(child, f"{name} {word}")
    else:
        yield name, command


COMMANDS = dict(commands(typer.main.get_command(app)))


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_documented_and_shows_an_example(name: str) -> None:
    told = (DOCS / "commands.md").read_text("utf-8") + (DOCS / "runtimes.md").read_text("utf-8")
    assert f"`{name}" in told
    options = [option for p in COMMANDS[name].params for option in p.opts if option[:2] == "--"]
    assert [option for option in options if option not in told and option != "--help"] == []
    assert f"{name} " in (COMMANDS[name].epilog or "") + " "


def test_every_key_of_the_experiment_file_is_documented() -> None:
    told = (DOCS / "experiment.md").read_text("utf-8")
    sections = {name: field.annotation for name, field in Experiment.model_fields.items()}
    assert [name for name in sections if f"## `[{name}]`" not in told] == []
    for annotation in sections.values():
        [section] = [kind for kind in get_args(annotation) or [annotation] if kind is not NoneType]
        assert isinstance(section, type) and issubclass(section, BaseModel)
        assert [key for key in section.model_fields if f"`{key}`" not in told] == []


def test_every_key_of_the_policy_file_is_documented() -> None:
    told = (DOCS / "site.md").read_text("utf-8")
    for name, field in Policy.model_fields.items():
        section = field.annotation
        assert f"`[{name}]`" in told
        assert isinstance(section, type) and issubclass(section, BaseModel)
        assert [key for key in section.model_fields if f"| `{key}` |" not in told] == []


@pytest.mark.parametrize(
    ("kind", "page"),
    [
        ("strategy", "strategies.md"),
        ("selection", "strategies.md"),
        ("partitioner", "data.md"),
        ("dataset", "data.md"),
        ("attack", "robustness.md"),
        ("model", "experiment.md"),
        ("paradigm", "experiment.md"),
        ("optimizer", "experiment.md"),
        ("schedule", "experiment.md"),
    ],
)
def test_every_name_is_documented(kind: str, page: str) -> None:
    told = (DOCS / page).read_text("utf-8")
    assert [entry.name for entry in registry.describe(kind) if f"`{entry.name}`" not in told] == []


def test_links_between_pages_lead_somewhere() -> None:
    for page in [*DOCS.glob("*.md"), ROOT / "README.md", ROOT / "CONTRIBUTING.md"]:
        links = re.findall(r"\]\(([^)#:]+)\)", page.read_text("utf-8"))
        assert [link for link in links if not (page.parent / link).exists()] == []


def taught(path: Path, folder: Path) -> list[str]:
    """What has an example learn from a teacher, where it says which command makes that first."""
    found = re.search(r"umbel simulate (\S+) --set (\S+) --out (\S+)", path.read_text("utf-8"))
    if found is None:
        return []
    first, setting, place = found.groups()
    assert f'weights = "../{place}/model.safetensors"' in path.read_text("utf-8")
    told = umbel.load(ROOT / first, [setting, "experiment.rounds=2"])
    umbel.simulate(told, out=folder / "teacher")
    return [f"teacher.weights={folder / 'teacher' / 'model.safetensors'}"]


@pytest.mark.parametrize("path", TOMLS, ids=lambda path: path.name)
def test_an_example_file_runs(path: Path, tmp_path: Path) -> None:
    rounds = LEAST_ROUNDS.get(path.name, 1)
    overrides = [f"experiment.rounds={rounds}", "evaluation.gain=false"]
    experiment = umbel.load(path, [*overrides, *taught(path, tmp_path)])
    check(experiment)
    try:
        for name in CARRIERS.keys() & {experiment.data.source, experiment.model.name}:
            locate(name)
    except BadInput as missing:
        pytest.skip(str(missing))
    result = umbel.simulate(experiment, out=tmp_path / "run")
    assert result.rounds == rounds and result.status == "finished"


def test_the_readme_shows_the_demo_experiment() -> None:
    [block] = re.findall(r"```toml\n(.+?)```", (ROOT / "README.md").read_text("utf-8"), re.S)
    shown = ROOT / "examples" / "digits.toml"
    assert Experiment(**_table(block)) == umbel.load(shown)


def _table(text: str) -> dict[str, object]:
    import tomllib

    return tomllib.loads(text)


WAYS = {"middle": {"share": 0.9}, "taking_turns": {"decay": 0.01}, "Doubting": {}}


@pytest.mark.parametrize("name", WAYS)
def test_each_way_to_a_strategy_of_ones_own_runs(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As an object, and by its import path from an experiment."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(ROOT / "examples"))
    example = runpy.run_path(str(ROOT / "examples" / "custom_strategy.py"))
    sections: dict[str, Any] = {
        "data": {"clients": 4},
        "experiment": {"rounds": 3},
        "client": {"optimizer": {"name": "sgd", "lr": 0.2}},
    }
    made = example[name](**WAYS[name])
    own = umbel.simulate(Experiment(**sections), strategy=made, out=tmp_path / "own")
    assert own.status == "finished" and own.rows[-1]["loss"] < own.rows[0]["loss"]
    named = Experiment(**sections, strategy={"name": f"custom_strategy:{name}", **WAYS[name]})
    assert umbel.simulate(named, out=tmp_path / "named").sha256 == own.sha256


def test_each_way_takes_fewer_than_40_lines() -> None:
    text = (ROOT / "examples" / "custom_strategy.py").read_text("utf-8")
    ways = re.split(r"^# [123]\. ", text.partition("if __name__")[0], flags=re.M)[1:]
    assert len(ways) == 3 and all(len(way.strip().splitlines()) < 40 for way in ways)
