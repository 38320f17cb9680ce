"""A strategy of the user's own: each way in, and what they are told where it goes wrong."""

from __future__ import annotations

import hashlib
import json
import sys

import pytest
import torch

import umbel as package
from umbel.errors import BadInput, UmbelError
from umbel.experiment import Experiment
from umbel.strategies import Need, Strategy, Update, fedavg

HEAD = """\
from umbel.strategies import Strategy, Update, WeightedMean, fedavg
import numpy, torch, umbel

"""
MEAN = """\
@umbel.combine
def mean(updates, model, scale: float = 1.0):
    "The plain mean."
    return {n: scale * torch.stack([u.tensors[n] for u in updates]).mean(0) for n in model}
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Write a module of the user's in the folder that they work in; gives its name."""
    monkeypatch.setattr(sys, "path", [str(tmp_path), *filter(None, sys.path)])

    def write(text):
        name = f"their_{hashlib.sha256(f'{tmp_path}{text}'.encode()).hexdigest()[:12]}"
        (tmp_path / f"{name}.py").write_text(HEAD + text)
        return name

    return write


def digest(umbel, *arguments):
    code, out, err = umbel("simulate", "exp.toml", *arguments, "--json")
    assert code == 0, err
    return json.loads(out)["model_sha256"]


def test_a_function_by_its_import_path_is_the_recipe_that_it_copies(umbel, module):
    named = f"strategy.name={module(MEAN)}:mean"
    own = digest(umbel, "--set", named, "--set", "strategy.fraction=0.5", "--out", "own")
    theirs = ("--set", 'strategy={name="fedavg", weighting="uniform", fraction=0.5}')
    other = package.Result.open("own").model
    digest(umbel, *theirs, "--out", "recipe")
    for name, value in package.Result.open("recipe").model.items():
        torch.testing.assert_close(other[name], value, rtol=1e-5, atol=1e-6)
    assert own == digest(umbel, "--set", named, "--set", "strategy.fraction=0.5", "--out", "again")


def test_its_parameters_are_checked_like_any_others(umbel, module):
    name = module(MEAN)
    for setting, words in {
        "scale=x": "strategy.scale: must be a valid number, found 'x'",
        "scal=1.0": "did you mean 'scale'?",
        "fraction=0.0": "strategy.fraction: 0.0 is not in (0, 1]",
    }.items():
        code, _, err = umbel(
            "check", "exp.toml", "--set", f"strategy.name={name}:mean", "--set", f"strategy.{setting}"
        )  # fmt: skip
        assert code == 2 and words in err and len(err.splitlines()) == 1, err


def test_as_an_object_in_python(tmp_path):
    @package.combine
    def mean(updates, model):
        return {n: torch.stack([u.tensors[n] for u in updates]).mean(0) for n in model}

    experiment = Experiment(data={"clients": 3}, experiment={"rounds": 1})
    own = package.simulate(experiment, strategy=mean(), out=tmp_path / "own")
    recipe = package.simulate(
        experiment, strategy=fedavg(weighting="uniform"), out=tmp_path / "recipe"
    )
    for name, value in recipe.model.items():
        torch.testing.assert_close(own.model[name], value, rtol=1e-5, atol=1e-6)
    with pytest.raises(BadInput, match="strategy: it is a function, not a strategy; call it"):
        package.simulate(experiment, strategy=mean, out=tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_a_function_cannot_change_the_model_that_it_is_given():
    @package.combine
    def mischief(updates, model):
        model["w"].zero_()
        return {"w": updates[0].tensors["w"]}

    model = {"w": torch.ones(2)}
    rule = mischief().combine
    rule.finish(rule.fold(rule.init(model), Update("a", {"w": torch.zeros(2)}, 1)))
    assert model["w"].tolist() == [1, 1]


@pytest.mark.parametrize(
    "function", [lambda updates: {}, lambda *updates: {}, lambda u, m, **k: {}, Strategy, 3]
)
def test_what_cannot_combine_is_no_rule(function):
    with pytest.raises(TypeError):
        package.combine(function)


@pytest.mark.parametrize("name", ["fraction", "select"])
def test_who_takes_part_is_not_the_functions_to_name(name):
    with pytest.raises(TypeError, match=f"{name} says who takes part"):
        package.combine(eval(f"lambda updates, model, {name}: {{}}"))


def test_a_function_takes_a_selection_like_any_recipe(umbel, module):
    named = f"strategy.name={module(MEAN)}:mean"
    turn = 'strategy.select={name="power-of-choice", candidates=0.9}'
    digest(umbel, "--set", named, "--set", "strategy.fraction=0.5", "--set", turn)
    code, _, err = umbel("check", "exp.toml", "--set", named, "--set", "strategy.select=robin")
    assert code == 2 and "strategy.select: " in err and "round-robin" in err, err


WRONG = {
    "nan": ("return {n: v * numpy.nan for n, v in model.items()}", "are not finite", 4),
    "nothing": ("pass", "it gave a NoneType, not a dict of tensors by name", 4),
    "an array": ("return {n: v.numpy() for n, v in model.items()}", "as a ndarray", 4),
    "a shape": ("return {n: v[:1] for n, v in model.items()}", "has shape (1,", 4),
    "a dtype": ("return {n: v.double() for n, v in model.items()}", "is torch.float64", 4),
    "too few": ("return dict(list(model.items())[1:])", "is missing", 4),
    "too many": ("return {**model, 'mine': torch.ones(1)}", "'mine' is not part of the model", 4),
    "a gradient": (
        "return {n: v.requires_grad_() for n, v in model.items()}", "value.detach()", 4
    ),
    "an error": ("return model['nothing']", "KeyError: 'nothing'", 6),
    "a deep error": ("return torch.stack([])", "RuntimeError: stack expects", 6),
    "a refusal": ("raise ValueError('too few')", "too few", 6),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_a_rule_that_goes_wrong_is_named_with_file_and_line(umbel, module, tmp_path, case):
    body, words, line = WRONG[case]
    # A rule stands where its decorator does, in line 4; what it raises, where it raises it.
    name = module(f"@umbel.combine\ndef own(updates, model):\n    {body}\n")
    code, out, err = umbel("simulate", "exp.toml", "--set", f"strategy.name={name}:own")
    last = err.strip().splitlines()[-1]
    assert code == 1 and out == "" and "Traceback" not in err
    assert f"umbel: own ({tmp_path / name}.py:{line}): " in last and words in last, err


@pytest.mark.parametrize(
    ("part", "words"),
    [
        ("select=lambda s: [7]", "it chose [7], not some of the clients 0 to 2"),
        ("select=lambda s: []", "it chose []"),
        ("select=lambda s: [1, 0]", "it chose [1, 0]"),
        ("select=lambda s: 1 / 0", "ZeroDivisionError: division by zero"),
        ("step=Step()", "it gave values of"),
        ("combine=WeightedMean(lambda u: -1)", "it weighs client-0 by -1"),
    ],
)
def test_other_parts_that_go_wrong_are_named_too(umbel, module, part, words):
    name = module(f"""
class Step:
    def init(self, model): return dict()
    def apply(self, model, combined, state, turn):
        return dict((n, v / 0) for n, v in model.items()), state

def own():
    return Strategy({part})
""")
    code, _, err = umbel("simulate", "exp.toml", "--set", f"strategy.name={name}:own")
    last = err.strip().splitlines()[-1]
    assert code == 1 and words in last and f"{name}.py:" in last, err


def test_weights_that_are_all_nothing_end_the_run_in_one_line(umbel, module):
    name = module("def own(): return Strategy(combine=WeightedMean(lambda u: 0))")
    code, out, err = umbel("simulate", "exp.toml", "--set", f"strategy.name={name}:own")
    last = err.strip().splitlines()[-1]
    assert code == 1 and out == "" and "sum to nothing" in last and "take another" in last, err


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("def own(updates, model):\n    return model", "put @umbel.combine above it"),
        ("own = fedavg()", "is a Strategy, and nothing that makes one"),
        ("def own(): return 3", "it is a int, not a strategy"),
        ("def own(): return fedavg", "it is a function, not a strategy; call it"),
        ("def own(): return {}['x']", ".py:4)"),
        ("def own(: pass", ".py:4)"),
        ("raise RuntimeError('no')\ndef own(): pass", "cannot be imported: RuntimeError: no"),
        ("import nothing_of_that_name", "No module named 'nothing_of_that_name'"),
        ("@umbel.combine\ndef own(model): pass", "own(updates, model)"),
        ("def own(): return Strategy(combine='median')", "combine: 'median' is no such part"),
        ("def own(): return Strategy(step=fedavg().combine)", "step: WeightedMean is no such part"),
        ("def own(): return Strategy(combine=type(fedavg().combine))", "is a class; give one of it"),
        ("def own(): return Strategy(stepp=1)", "unexpected keyword argument 'stepp'"),
        ("def own(): raise ValueError('no such weather')", "strategy: no such weather"),
    ],
)  # fmt: skip
def test_what_makes_no_strategy_is_refused_when_the_experiment_is_read(umbel, module, text, words):
    code, out, err = umbel("check", "exp.toml", "--set", f"strategy.name={module(text)}:own")
    assert code == 2 and words in err and out == "", err
    assert len(err.strip().splitlines()) == 1 and "Traceback" not in err


NEEDS = """
from umbel.strategies import Need
def own():
    return Strategy(needs=(Need("client.epochs", 3, "the paper says so"),
                           Need("client.optimizer", "sgd", "it is made for it"),
                           Need("client.optimizer.lr", 0.5, "that is the rate")))
"""


def test_what_a_strategy_needs_is_checked_when_the_experiment_is_read(umbel, module, tmp_path):
    named = ("--set", f"strategy.name={module(NEEDS)}:own")
    adam = ("--set", 'client.optimizer={name="adam", lr=0.1}')
    code, _, err = umbel("check", "exp.toml", *named, *adam)
    lines = err.strip().splitlines()
    assert code == 2 and len(lines) == 3
    assert lines[0].endswith("own: it needs client.epochs = 3, found 1: the paper says so")
    assert 'it needs client.optimizer = "sgd", found "adam"' in lines[1]
    assert "it needs client.optimizer.lr = 0.5, found 0.1" in lines[2]
    good = ("--set", "client.epochs=3", "--set", "client.optimizer.lr=0.5")
    assert umbel("check", "exp.toml", *named, *good)[0] == 0
    strategy = Strategy(needs=(Need("client.epochs", 3, "the paper says so"),))
    with pytest.raises(BadInput, match="strategy: it needs client.epochs = 3"):
        package.simulate(Experiment(), strategy=strategy, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_name_of_an_entry_point_that_does_not_load_is_one_line(umbel, tmp_path, monkeypatch):
    info = tmp_path / "their_broken-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: their-broken\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[umbel.strategies]\nbroken = their_broken:own\n")
    (tmp_path / "their_broken.py").write_text("1 / 0\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    code, _, err = umbel("check", "exp.toml", "--set", "strategy.name=broken")
    assert code == 2 and "their_broken.py:1" in err and len(err.splitlines()) == 1


def test_a_flower_subclass_runs_by_its_import_path(umbel, module):
    name = module("""
from flwr.serverapp.strategy import FedAvg
class Louder(FedAvg):
    def __init__(self, times: float = 1.0, **options):
        super().__init__(**options)
        self.times = times
    def aggregate_train(self, server_round, replies):
        arrays, metrics = super().aggregate_train(server_round, replies)
        values = {n: v * self.times for n, v in arrays.to_torch_state_dict().items()}
        return type(arrays)(values), metrics
""")
    settings = ("--set", f"strategy.name={name}:Louder", "--set", "experiment.rounds=1")
    digest(umbel, *settings, "--out", "once")
    digest(umbel, *settings, "--set", "strategy.times=2.0", "--out", "twice")
    once, twice = package.Result.open("once").model, package.Result.open("twice").model
    for name, value in once.items():
        torch.testing.assert_close(twice[name], 2 * value)


def test_errors_have_their_classes(tmp_path):
    """A refusal is the client's matter; whatever else a rule raises ends the run."""

    @package.combine
    def own(updates, model):
        raise OSError("disk")

    with pytest.raises(UmbelError, match=r"own \(.*test_own.py:\d+\): OSError: disk"):
        package.simulate(Experiment(), strategy=own(), out=tmp_path / "run")
