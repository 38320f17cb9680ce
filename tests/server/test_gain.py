"""What clients tell of transfer gain is believed as far as it can be checked, and costs no run."""

from __future__ import annotations

import pytest
from faulty import asked_more, envelope_of, raised
from flwr.app import Message

from umbel.gain import read_gain
from umbel.messages import GAIN, Envelope


def telling(change):
    """The clients, with one metrics table changed by `change(client index, table)`."""

    def lie(message, reply):
        honest, index = envelope_of(reply), message.metadata.dst_node_id - 1
        found = change(index, dict(honest.header["metrics"]))
        if found is None:
            return raised(message, reply)
        return Message(Envelope({**honest.header, "metrics": found}).to_record(), reply_to=message)

    return asked_more(GAIN, lie)


LIES = {
    1: (lambda told: told | {"alone/loss": float("nan")}, "metric 'alone/loss' is nan, not a fin"),
    2: (lambda told: without(told, "alone"), "it does not tell the accuracy of the model 'alone'"),
    3: (lambda told: told | {"stolen/loss": 1.0}, "'stolen/loss' is no metric of one of the thr"),
    4: (lambda told: told | {"examples": 0.5}, "0.5 held-out examples are not in 1 to 10000000"),
    5: (lambda told: told | {"run/loss": 1e300}, "metric 'run/loss' is "),
    6: (
        lambda told: told | {f"{m}/f1": 1.0 for m in ("run", "alone", "untouched")},
        "its metrics are named unlike the others'",
    ),
    7: (lambda told: None, "disk on fire"),
    8: (lambda told: {"loss": 3.0, "examples": 30.0}, "'loss' is no metric of one of the three"),
    9: (lambda told: [], "its metrics are not a table"),
}


def without(told, model):
    return {name: value for name, value in told.items() if not name.startswith(f"{model}/")}


def test_lies_are_refused_and_the_others_count(bench):
    honest = bench.experiment(
        experiment={"rounds": 1, "seed": 5}, data={"clients": 12}, paradigm={"name": "finetune"}
    )
    bench.run(bench.clients(honest), out="honest")
    clients = bench.clients(honest)
    lie = telling(lambda index, told: LIES[index][0](told) if index in LIES else told)
    clients.app = lie(clients.app)
    summary = bench.run(clients)
    assert summary.status == "finished"
    gain, truth = read_gain(bench.tmp_path / "run"), read_gain(bench.tmp_path / "honest")
    kept = [f"client-{index}" for index in range(12) if index not in LIES]
    assert gain.scores == {client: truth.scores[client] for client in kept}
    told = dict(gain.left_out)
    assert set(told) == {f"client-{index}" for index in LIES}
    for index, (_, reason) in LIES.items():
        assert reason in told[f"client-{index}"]
    assert "9 left out (client-1: metric 'alone/loss'" in gain.summary


@pytest.mark.parametrize("strategy", ["fedavg", "flwr.serverapp.strategy:FedAvg"])
def test_nobody_answers_and_the_run_ends_all_the_same(bench, strategy):
    told = bench.experiment(
        experiment={"rounds": 1, "seed": 5}, paradigm={"name": "finetune"}, strategy=strategy
    )
    clients = bench.clients(told)
    clients.app = telling(lambda index, told: None)(clients.app)
    assert bench.run(clients).status == "finished"
    gain = read_gain(bench.tmp_path / "run")
    assert gain.scores == {} and len(gain.left_out) == 4
    assert gain.summary.startswith("transfer gain: no client told it (client-0: ")
