"""Learning from few labels over the network gives what it gives in simulation."""

from __future__ import annotations

import pytest
from lab import Lab

import umbel
from umbel.experiment import load
from umbel.server.observer import Silent
from umbel.server.remote import run


class Notes(Silent):
    def __init__(self) -> None:
        self.said: list[str] = []

    def note(self, text: str) -> None:
        self.said.append(text)


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    """A SuperLink with warm nodes that stay, and an experiment whose clients have few labels."""
    lab = Lab(tmp_path_factory.mktemp("network"))
    path = lab.experiment(
        data={"clients": 3, "labelled": 0.01, "labelled_clients": 0.67},
        model={"name": "mlp", "hidden": [8], "batch_norm": True},
        client={"steps": 4, "batch_size": 8},
    )
    yield lab.federation(path, clients=3), path
    lab.close()


def test_a_server_that_alone_has_labels(tmp_path):
    """It draws them from the data set, and no client has these examples."""
    lab = Lab(tmp_path)
    path = lab.experiment(
        experiment={"rounds": 3},
        data={"clients": 2, "labels": 60, "labels_at": "server"},
        paradigm={"name": "semifl", "threshold": 0.2},
        strategy="semifl",
        client={"steps": 30, "batch_size": 10, "optimizer": {"name": "sgd", "lr": 0.3}},
    )
    try:
        expected = lab.umbel("simulate", path, "--out", "calm")[0]["model_sha256"]
        result, _ = lab.umbel("up", path, "--out", "run")
    finally:
        lab.close()
    assert result["model_sha256"] == expected
    told = [[record["metrics"] for record in lab.records(run)] for run in ("run", "calm")]
    assert told[0] == told[1]
    # At first nobody is sure of anything, and so nobody counts.
    assert told[0][0]["train"]["idle_count"] == 2 > told[0][-1]["train"]["idle_count"]


@pytest.mark.parametrize(
    ("name", "strategy"),
    [
        ("fixmatch", "fedavg"),
        ("freematch", "fedadam"),
        ("mean-teacher", "fedprox"),
        ("mixmatch", "scaffold"),
        ("pseudo-label", "median"),
        ("rscfed", "rscfed"),
        ("fedmatch", "fedadam"),
        ("{name='fixmatch', source='committee'}", "fedbn"),
    ],
)
def test_same_bits_and_counts_as_in_simulation(network, tmp_path, name, strategy):
    address, path = network
    key = "paradigm" if name.startswith("{") else "paradigm.name"
    experiment = load(path, [f"{key}={name}", f"strategy.name={strategy}"])
    said: list[Notes] = [Notes(), Notes()]
    there = run(experiment, address, out=tmp_path / "there", observer=said[0])
    here = umbel.simulate(experiment, out=tmp_path / "here", observer=said[1])
    assert there.status == "finished" and there.sha256 == here.sha256
    assert [r["metrics"] for r in there.records] == [r["metrics"] for r in here.records]
    assert [row["status"] for row in there.records[-1]["clients"]] == ["ok"] * 3
    # Two clients have five labels each, so that some class has none.
    lacking = [
        [text for text in notes.said if "no client has a label of" in text] for notes in said
    ]
    assert lacking[0] == lacking[1] and len(lacking[0]) == 1
