"""The round loop over real clients in one process: what a good run gives, and what faults cost."""

import json
import re
from dataclasses import replace

import pytest
import torch
from faulty import changed, lost, raised

from umbel.errors import BadInput, UmbelError
from umbel.server.checkpoint import Checkpoint
from umbel.server.record import RunFolder
from umbel.strategies import fedavg
from umbel.tensors import read_tensors


def model_of(summary):
    return read_tensors(summary.folder.model)[0]


def test_a_run_learns_and_leaves_its_record(bench):
    clients = bench.clients(bench.experiment(experiment={"rounds": 8, "seed": 5}))
    summary = bench.run(clients)
    assert (summary.status, summary.rounds) == ("finished", 8)
    losses = [record["metrics"]["train"]["loss"] for record in bench.log.records]
    assert losses[-1] < losses[0]
    lines = [json.loads(line) for line in summary.folder.metrics.read_text().splitlines()]
    assert [line["round"] for line in lines] == list(range(1, 9))
    assert lines[0]["bytes_up"] > 0 and lines[0]["bytes_down"] > 0
    assert [row["client"] for row in lines[0]["clients"]] == [f"client-{i}" for i in range(4)]
    names = {path.name for path in summary.folder.path.iterdir()}
    assert names >= {
        "experiment.toml", "metrics.jsonl", "model.safetensors", "checkpoint", "report.html",
        "environment.json",
    }  # fmt: skip
    assert not [name for name in names if name.endswith(".tmp")]


def test_one_round_is_the_mean_of_what_each_client_alone_would_send(bench):
    """FedAvg's equation, from runs that hold one client each."""
    experiment = bench.experiment(experiment={"rounds": 1, "seed": 5})
    everyone = bench.clients(experiment)
    whole = model_of(bench.run(everyone))
    total, examples = {}, 0
    for index in range(4):
        alone = bench.clients(experiment)
        others = [other for other in range(4) if other != index]
        alone.faults = {(other, 1): raised for other in others}
        model = model_of(bench.run(alone, out=f"alone-{index}"))
        count = bench.log.records[-1]["clients"][index]["examples"]
        examples += count
        for name, value in model.items():
            total[name] = total.get(name, 0) + value.double() * count
    for name, value in whole.items():
        torch.testing.assert_close(value.double(), total[name] / examples, rtol=1e-6, atol=1e-7)


def nan(tensors):
    return {**tensors, "head.bias": torch.full_like(tensors["head.bias"], float("nan"))}


def reshaped(tensors):
    return {**tensors, "head.bias": tensors["head.bias"][:1]}


def missing(tensors):
    return {name: value for name, value in tensors.items() if name != "head.bias"}


def extra(tensors):
    return {**tensors, "more": torch.zeros(1)}


def doubled(tensors):
    return {name: value.double() for name, value in tensors.items()}


FAULTS = {
    "nan": (changed(update=nan), "head.bias.*not finite"),
    "infinite": (
        changed(update=lambda t: {**t, "head.bias": t["head.bias"] / 0}),
        "head.bias.*not finite",
    ),
    "wrong shape": (changed(update=reshaped), r"head.bias.*shape \(1,\)"),
    "missing tensor": (changed(update=missing), "head.bias.*missing"),
    "extra tensor": (changed(update=extra), "more.*not part"),
    "wrong dtype": (changed(update=doubled), "float64"),
    "no tensors": (changed(update=lambda t: {}), "missing"),
    "unknown group": (changed(backdoor=lambda t: {"w": torch.zeros(1)}), "unknown group"),
    "examples 0": (changed({"examples": 0}), "num_examples 0"),
    "examples -1": (changed({"examples": -1}), "num_examples -1"),
    "examples 2**62": (changed({"examples": 2**62}), f"num_examples {2**62}"),
    "examples true": (changed({"examples": True}), "num_examples True"),
    "examples text": (changed({"examples": "9"}), "num_examples '9'"),
    "metrics nan": (changed({"metrics": {"loss": float("nan")}}), "loss.*not a finite"),
    "another's name": (changed({"client": "client-0"}), "answers as 'client-0'"),
    "raises": (raised, "disk on fire"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_bad_update_is_refused_by_name_and_the_model_untouched(bench, fault):
    """The model is the one that the other three clients make without the bad one."""
    act, reason = FAULTS[fault]
    experiment = bench.experiment(experiment={"rounds": 1, "seed": 5})
    clients = bench.clients(experiment)
    clients.faults = {(2, 1): act}
    with_fault = bench.run(clients)
    [(name, said)] = bench.log.failed
    assert name == "client-2"
    assert re.search(reason, said), said
    [failure] = bench.log.records[0]["failures"]
    assert failure["client"] == "client-2"
    without = bench.clients(experiment)
    without.faults = {(2, 1): raised}
    assert bench.run(without, out="without").model_sha256 == with_fault.model_sha256


def test_a_lost_reply_is_asked_for_again_and_costs_nothing(bench):
    experiment = bench.experiment()
    clients = bench.clients(experiment)

    def once(message, reply):
        del clients.faults[(1, 2)]
        return lost(message, reply)

    clients.faults = {(1, 2): once}
    again = bench.run(clients)
    assert bench.log.failed == []
    assert clients.trained.count((1, 2)) == 2
    assert again.model_sha256 == bench.run(bench.clients(experiment), out="calm").model_sha256


def test_too_few_updates_repeat_the_round_and_then_go_on(bench):
    experiment = bench.experiment(server={"min_updates": 4, "retries": 2})
    clients = bench.clients(experiment)

    def once(message, reply):
        del clients.faults[(3, 2)]
        return raised(message, reply)

    clients.faults = {(3, 2): once}
    again = bench.run(clients)
    assert [record["attempts"] for record in bench.log.records] == [1, 2, 1]
    assert again.model_sha256 == bench.run(bench.clients(experiment), out="calm").model_sha256


def test_too_few_updates_end_the_run_with_the_reason_and_a_whole_checkpoint(bench):
    experiment = bench.experiment(server={"min_updates": 4, "retries": 1})
    clients = bench.clients(experiment)
    clients.faults = {(3, 2): raised}
    with pytest.raises(UmbelError, match=r"round 2.*2 tries.*client-3: RuntimeError: disk on fire"):
        bench.run(clients)
    checkpoint = Checkpoint.read(bench.tmp_path / "run" / "checkpoint")
    assert checkpoint is not None and checkpoint.round == 1


def test_fewer_updates_than_the_rule_can_combine_repeat_the_round_too(bench):
    trimmed = {"name": "trimmed_mean", "trim": 0.25}  # Of three updates it would cut none.
    experiment = bench.experiment(strategy=trimmed)
    clients = bench.clients(experiment)

    def once(message, reply):
        del clients.faults[(3, 2)]
        return raised(message, reply)

    clients.faults = {(3, 2): once}
    again = bench.run(clients)
    assert [record["attempts"] for record in bench.log.records] == [1, 2, 1]
    assert again.model_sha256 == bench.run(bench.clients(experiment), out="calm").model_sha256


def test_fewer_updates_than_the_rule_can_combine_end_the_run_with_the_reason(bench):
    trimmed = {"name": "trimmed_mean", "trim": 0.25}
    clients = bench.clients(bench.experiment(strategy=trimmed, server={"retries": 1}))
    clients.faults = {(3, 2): raised}
    words = r"round 2: trim: 0.25 of 3 updates .* in 2 tries; the last failures: client-3: Runtime"
    with pytest.raises(UmbelError, match=words):
        bench.run(clients)
    checkpoint = Checkpoint.read(bench.tmp_path / "run" / "checkpoint")
    assert checkpoint is not None and checkpoint.round == 1


@pytest.mark.parametrize("strategy", ["fedavg", "flwr.serverapp.strategy:FedAdam"])
def test_an_interrupted_run_resumes_to_the_same_bytes(bench, strategy):
    choice = (
        {"name": strategy, "fraction": 0.5}
        if strategy == "fedavg"
        else {"name": strategy, "eta": 0.01}
    )
    experiment = bench.experiment(experiment={"rounds": 5, "seed": 5}, strategy=choice)
    calm = bench.run(bench.clients(experiment), out="calm")
    clients = bench.clients(experiment)
    finish = bench.log.round_finished

    def interrupt(record):
        finish(record)
        if record["round"] == 3:
            raise KeyboardInterrupt

    bench.log.round_finished = interrupt
    with pytest.raises(KeyboardInterrupt):
        bench.run(clients)
    bench.log.round_finished = finish
    resumed = bench.run(bench.clients(experiment))
    assert bench.log.first_round == 4
    assert resumed.model_sha256 == calm.model_sha256
    lines = [json.loads(line) for line in resumed.folder.metrics.read_text().splitlines()]
    assert [line["round"] for line in lines] == [1, 2, 3, 4, 5]


class Shuffled:
    """A grid that hands replies over in the opposite order, all at once."""

    def __init__(self, grid):
        self._grid = grid
        self._held = []

    def __getattr__(self, name):
        return getattr(self._grid, name)

    def pull_messages(self, message_ids):
        wanted = list(message_ids)
        while len(self._held) < len(wanted):
            self._held += self._grid.pull_messages(wanted)
        replies, self._held = self._held[::-1], []
        return replies


def test_the_order_of_arrival_does_not_matter(bench):
    experiment = bench.experiment(data={"clients": 7})
    in_order = bench.run(bench.clients(experiment))
    reversed_ = bench.run(bench.clients(experiment), out="reversed", wrap=Shuffled)
    assert in_order.model_sha256 == reversed_.model_sha256


@pytest.mark.parametrize("change", [{"shape": (16, 16)}, {"classes": tuple("abcdefghij")}])
def test_clients_with_another_schema_are_named_and_refused_or_left_out(bench, change):
    def odd(mismatched):
        experiment = bench.experiment(server={"mismatched": mismatched})
        clients = bench.clients(experiment)
        honest = clients.shards

        class Mixed:
            dataset = honest.dataset

            def shard(self, index):
                shard = honest.shard(index)
                other = replace(shard.schema, **change)
                return replace(shard, schema=other) if index == 3 else shard

        clients.shards = Mixed()
        return clients

    with pytest.raises(BadInput, match=r"client-3 does not match client-0: .* instead of"):
        bench.run(odd("refuse"))
    summary = bench.run(odd("leave-out"), out="left-out")
    assert summary.status == "finished"
    assert bench.log.cohorts[-1] == ["client-0", "client-1", "client-2"]


def test_two_clients_of_one_name_are_refused(bench):
    clients = bench.clients(bench.experiment())
    clients.shards.__class__.name, kept = lambda self, index: "twin", clients.shards.__class__.name
    try:
        with pytest.raises(BadInput, match="two clients are named twin"):
            bench.run(clients)
    finally:
        clients.shards.__class__.name = kept


def test_early_stopping_ends_the_run_and_stays_ended(bench):
    stop = {"metric": "accuracy", "target": 0.0}
    experiment = bench.experiment(evaluation={"stop": stop})
    summary = bench.run(bench.clients(experiment))
    assert (summary.status, summary.rounds) == ("stopped", 1)
    assert "reached the target" in summary.reason
    assert bench.run(bench.clients(experiment)).rounds == 1


def test_evaluation_runs_every_k_rounds_and_at_the_end(bench):
    experiment = bench.experiment(experiment={"rounds": 5, "seed": 5}, evaluation={"every": 2})
    bench.run(bench.clients(experiment))
    seen = ["federated" in record["metrics"] for record in bench.log.records]
    assert seen == [False, True, False, True, True]


def test_federated_evaluation_is_the_sum_over_the_clients_held_out_parts(bench):
    experiment = bench.experiment(data={"clients": 4, "held_out": 0.5})
    bench.run(bench.clients(experiment))
    record = bench.log.records[-1]
    trained = sum(row["examples"] for row in record["clients"])
    held_out = record["metrics"]["federated"]["examples"]
    assert trained + held_out == 1797 and 0 <= record["metrics"]["federated"]["accuracy"] <= 1


def test_a_strategy_object_takes_the_place_of_a_name(bench):
    experiment = bench.experiment()
    by_name = bench.run(bench.clients(experiment))
    by_object = bench.run(bench.clients(experiment), out="object", strategy=fedavg())
    assert by_name.model_sha256 == by_object.model_sha256


@pytest.mark.parametrize(
    "name", ["FedAvg", "FedAdam", "FedYogi", "FedAdagrad", "FedMedian", "FedTrimmedAvg", "FedAvgM",
             "Krum", "FedProx", "QFedAvg"],
)  # fmt: skip
def test_flowers_own_strategies_run_and_repeat_themselves(bench, name):
    parameters = {
        "FedProx": {"proximal_mu": 0.1},
        "QFedAvg": {"client_learning_rate": 0.05, "q": 0.1},
    }
    choice = {"name": f"flwr.serverapp.strategy:{name}", **parameters.get(name, {})}
    experiment = bench.experiment(experiment={"rounds": 2, "seed": 5}, strategy=choice)
    first = bench.run(bench.clients(experiment))
    again = bench.run(bench.clients(experiment), out="again")
    assert first.model_sha256 == again.model_sha256
    for tensor in model_of(first).values():
        assert torch.isfinite(tensor).all()


def test_flowers_fedavg_gives_what_umbels_gives(bench):
    own = model_of(bench.run(bench.clients(bench.experiment())))
    stock = bench.experiment(strategy={"name": "flwr.serverapp.strategy:FedAvg"})
    theirs = model_of(bench.run(bench.clients(stock), out="stock"))
    for name, tensor in own.items():
        torch.testing.assert_close(tensor, theirs[name], rtol=1e-5, atol=1e-6)


def test_a_folder_that_holds_a_run_is_refused(bench):
    experiment = bench.experiment()
    RunFolder.create(bench.tmp_path / "taken", experiment, "simulate")
    with pytest.raises(BadInput, match="holds a run already"):
        RunFolder.create(bench.tmp_path / "taken", experiment, "simulate")
    with pytest.raises(BadInput, match="not a run folder"):
        RunFolder.open(bench.tmp_path)


def test_a_run_that_fails_says_so_in_its_record(bench):
    experiment = bench.experiment(server={"min_updates": 4, "retries": 0})
    clients = bench.clients(experiment)
    clients.faults = {(0, 2): raised}
    with pytest.raises(UmbelError):
        bench.run(clients)
    environment = json.loads((bench.tmp_path / "run" / "environment.json").read_text())
    assert environment["status"] == "failed" and "disk on fire" in environment["reason"]
    assert (bench.tmp_path / "run" / "report.html").exists()


def test_a_run_refused_at_the_handshake_leaves_no_folder(bench):
    clients = bench.clients(bench.experiment())
    clients.shards.__class__.name, kept = lambda self, index: "twin", clients.shards.__class__.name
    try:
        with pytest.raises(BadInput):
            bench.run(clients, out="refused")
    finally:
        clients.shards.__class__.name = kept
    assert not (bench.tmp_path / "refused").exists()


def test_a_stop_rule_with_nothing_to_evaluate_on_is_refused(bench):
    stop = {"metric": "accuracy", "patience": 1}
    experiment = bench.experiment(evaluation={"stop": stop}, data={"clients": 4, "held_out": 0.0})
    with pytest.raises(BadInput, match=r"evaluation\.stop: nothing to score; set"):
        bench.run(bench.clients(experiment))


def test_a_refused_resume_leaves_the_run_as_it_was(bench):
    """Interrupted before its first checkpoint, then resumed with clients that do not fit."""
    experiment = bench.experiment()
    RunFolder.create(bench.tmp_path / "run", experiment, "simulate")
    before = {path.name: path.read_bytes() for path in (bench.tmp_path / "run").iterdir()}
    clients = bench.clients(experiment)
    clients.shards.__class__.name, kept = lambda self, index: "twin", clients.shards.__class__.name
    try:
        with pytest.raises(BadInput, match="twin"):
            bench.run(clients)
    finally:
        clients.shards.__class__.name = kept
    assert {path.name: path.read_bytes() for path in (bench.tmp_path / "run").iterdir()} == before
