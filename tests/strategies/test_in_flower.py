"""umbel's strategies inside a plain Flower ServerApp, over clients that know nothing of umbel."""

import numpy as np
import pytest
import torch
from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import ServerApp
from flwr.serverapp.strategy import FedAvg as FlowersFedAvg
from flwr.serverapp.strategy import Strategy as FlowersStrategy

from umbel import registry
from umbel.simulation.grid import InProcessGrid
from umbel.strategies import FedAvg, FedProx, WeightedMean


def plain_clients():
    """Node k adds k to every weight and says it has 10 k examples."""
    app = ClientApp()

    @app.train()
    def train(message, context):
        arrays = message.content["arrays"].to_torch_state_dict()
        moved = {name: value + context.node_id for name, value in arrays.items()}
        metrics = {"num-examples": 10 * context.node_id, "train_loss": 1.0 / context.node_id}
        content = {"arrays": ArrayRecord(moved), "metrics": MetricRecord(metrics)}
        return Message(RecordDict(content), reply_to=message)

    @app.evaluate()
    def evaluate(message, context):
        metrics = {"num-examples": 10, "eval_acc": float(context.node_id)}
        return Message(RecordDict({"metrics": MetricRecord(metrics)}), reply_to=message)

    return app


def play(strategy, rounds=3):
    app = ServerApp()
    found = {}

    @app.main()
    def main(grid, context):
        start = ArrayRecord({"w": torch.tensor([1.0, 2.0]), "steps": torch.tensor([0])})
        found["result"] = strategy.start(grid, start, num_rounds=rounds)

    with InProcessGrid(plain_clients, population=4) as grid:
        app(grid, Context(1, 0, {}, RecordDict(), {}))
    return found["result"]


@pytest.mark.parametrize("make", [FedAvg, FedProx])
def test_they_are_flower_strategies(make):
    assert isinstance(make(), FlowersStrategy)


def test_fedavg_gives_what_flowers_fedavg_gives():
    own, theirs = play(FedAvg()), play(FlowersFedAvg())
    one, other = own.arrays.to_torch_state_dict(), theirs.arrays.to_torch_state_dict()
    torch.testing.assert_close(one["w"], other["w"], rtol=1e-6, atol=0)
    for round in (1, 2, 3):
        mine = own.evaluate_metrics_clientapp[round]["eval_acc"]
        assert mine == pytest.approx(theirs.evaluate_metrics_clientapp[round]["eval_acc"])
        assert own.train_metrics_clientapp[round]["train_loss"] == pytest.approx(
            theirs.train_metrics_clientapp[round]["train_loss"]
        )


def test_integers_stay_integers_where_flowers_become_floats():
    own = play(FedAvg(), rounds=1).arrays.to_torch_state_dict()
    assert own["steps"].dtype == torch.int64 and own["steps"].item() == 4
    assert (
        play(FlowersFedAvg(), rounds=1).arrays.to_torch_state_dict()["steps"].dtype != torch.int64
    )


def test_parts_count_in_flower_too():
    uniform = play(FedAvg(weighting="uniform"), rounds=1).arrays.to_torch_state_dict()
    np.testing.assert_allclose(uniform["w"], [1 + 2.5, 2 + 2.5])
    weighted = play(FedAvg(), rounds=1).arrays.to_torch_state_dict()
    np.testing.assert_allclose(weighted["w"], [1 + 3.0, 2 + 3.0])
    assert FedAvg().combine == WeightedMean()


def test_a_fraction_selects_so_many_nodes():
    strategy = FedAvg(fraction=0.5)
    with InProcessGrid(plain_clients, population=4) as grid:
        from flwr.app import ConfigRecord

        messages = strategy.configure_train(
            1, ArrayRecord({"w": torch.ones(1)}), ConfigRecord(), grid
        )
        assert len({message.metadata.dst_node_id for message in messages}) == 2


def test_a_rule_that_remembers_does_so_in_flower():
    from umbel.strategies import CentredClipping, Strategy

    def make(memory):
        return Strategy(combine=CentredClipping(tau=1.0, iterations=1, memory=memory))

    # Every round the four nodes add 1, 2, 3 and 4. From the model, each is clipped to 1.
    forgetful = play(make(False), rounds=2).arrays.to_torch_state_dict()["w"]
    scale = 1 / np.sqrt(2)  # two coordinates: a change of k has the length k * sqrt(2)
    np.testing.assert_allclose(forgetful, [1 + 2 * scale, 2 + 2 * scale], rtol=1e-6)
    remembering = play(make(True), rounds=2).arrays.to_torch_state_dict()["w"]
    # The second centre is ahead by `scale`: all four are beyond it, so it moves on by less than
    # `scale` only for the first, which is 1 - scale away.
    second = scale + ((1 - scale) + 3 * scale) / 4
    np.testing.assert_allclose(remembering, np.array([1, 2]) + scale + second, rtol=1e-6)


def test_too_few_for_the_rule_cost_the_round_in_flower_and_not_the_run(caplog):
    found = play(registry.build("strategy", "bulyan", {}), rounds=2)  # It asks for seven.
    assert found.train_metrics_clientapp == {} and set(found.evaluate_metrics_clientapp) == {1, 2}
    assert "round 2: byzantine: 1 among 4 updates are too many for Bulyan" in caplog.text
