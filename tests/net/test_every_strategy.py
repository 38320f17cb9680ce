"""Every strategy of the catalogue over a real network gives what simulation gives, bit for bit."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from lab import Lab

import umbel
from umbel import registry
from umbel.experiment import Experiment, load
from umbel.server.app import build_strategy
from umbel.server.remote import run
from umbel.strategies.parts import AsksServer, EndsEarly

CLIENTS = 7
"""As many as Bulyan asks for with one attacker among them."""

DATA = {"clients": CLIENTS, "partition": {"name": "dirichlet", "alpha": 1.0}}


EXAMPLES = Path(__file__).parents[2] / "examples"
OWN = ["custom_strategy:middle", "custom_strategy:taking_turns", "custom_strategy:Doubting"]


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    """A SuperLink with warm nodes that stay for all cases; its address and the experiment."""
    lab = Lab(tmp_path_factory.mktemp("network"))
    lab.environment["PYTHONPATH"] += f"{os.pathsep}{EXAMPLES}"
    # How the clients evaluate is no strategy's business, and costs one more exchange a case.
    model = {"name": "mlp", "hidden": [8], "batch_norm": True}
    evaluation = {"every": 2, "federated": False}
    path = lab.experiment(data=DATA, model=model, evaluation=evaluation)
    lab.shards(path)
    address, _ = lab.server()
    for index in range(CLIENTS):
        lab.client(address, f"client-{index}", "--allow-import", "custom_strategy")
    yield address, path
    lab.close()


def fitted(path: Path, name: str, *settings: str) -> tuple[Experiment, bool]:
    """The experiment under a strategy with its default parameters and what that one needs; and
    whether it may end a round before all have answered."""
    strategy = registry.build("strategy", name, {})
    needs = [need for need in getattr(strategy, "needs", ()) if not need.optional]
    needs = [need for need in needs if need.value is not None]
    overrides = [f"strategy.name={name}", *settings]
    overrides += [f"{need.key}={json.dumps(need.value)}" for need in needs]
    if isinstance(getattr(strategy, "combine", None), AsksServer):
        overrides.append("data.server=digits")
    experiment = load(path, overrides)
    return experiment, isinstance(getattr(build_strategy(experiment), "select", None), EndsEarly)


CASES = [(name,) for name in [*registry.names("strategy"), *OWN]]
CASES += [
    ("fedavg", f"strategy.select={name}", "strategy.fraction=0.5")
    for name in registry.names("selection")
]
# Two clusters in the second round.
SOON = ["after=0", "length=1", "epsilon1=100.0", "epsilon2=1e-9"]
CASES += [("gcfl", *(f"strategy.{setting}" for setting in SOON))]


@pytest.mark.parametrize("case", CASES, ids=lambda case: " ".join(case[:2]))
def test_over_the_network_as_in_simulation(network, tmp_path, monkeypatch, case):
    monkeypatch.syspath_prepend(str(EXAMPLES))
    address, path = network
    experiment, hasty = fitted(path, *case)
    there = run(experiment, address, out=tmp_path / "there")
    assert there.status == "finished" and there.rounds == 2
    failures = [failure for record in there.records for failure in record["failures"]]
    if hasty:
        # Who is first to answer is the network's choice; that nobody failed is the strategy's.
        assert {failure["status"] for failure in failures} <= {"spare"}
        return
    assert failures == []
    here = umbel.simulate(experiment, out=tmp_path / "here")
    assert there.sha256 == here.sha256
    # What is kept and summed is the same too: the metrics of both rounds, to the last digit.
    assert [r["metrics"] for r in there.records] == [r["metrics"] for r in here.records]
