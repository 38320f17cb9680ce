"""What a user of stock Flower writes: FedAvg over a small MLP, one SGD step a round."""

from __future__ import annotations

import json
import time
from pathlib import Path

import torch
from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg
from torch import nn

client = ClientApp()
server = ServerApp()


def make_model(width: int) -> nn.Module:
    return nn.Sequential(
        nn.Linear(64, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 10)
    )


@client.train()
def train(message: Message, context: Context) -> Message:
    torch.set_num_threads(1)
    model = make_model(int(context.run_config["width"]))
    model.load_state_dict(message.content["arrays"].to_torch_state_dict())
    loss = nn.functional.cross_entropy(model(torch.randn(8, 64)), torch.arange(8))
    loss.backward()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter -= 0.05 * parameter.grad
    content = {
        "arrays": ArrayRecord(model.state_dict()),
        "metrics": MetricRecord({"num-examples": 8, "loss": float(loss)}),
    }
    return Message(RecordDict(content), reply_to=message)


class Timed(FedAvg):
    """FedAvg that notes the time between a round's messages and its last reply."""

    def __init__(self) -> None:
        super().__init__(fraction_evaluate=0.0, min_train_nodes=2, min_available_nodes=2)
        self.seconds: list[float] = []

    def configure_train(self, *arguments, **named):
        messages = list(super().configure_train(*arguments, **named))
        self._sent = time.perf_counter()
        return messages

    def aggregate_train(self, server_round, replies):
        self.seconds.append(time.perf_counter() - self._sent)
        return super().aggregate_train(server_round, replies)


@server.main()
def main(grid: Grid, context: Context) -> None:
    strategy = Timed()
    config = context.run_config
    model = ArrayRecord(make_model(int(config["width"])).state_dict())
    strategy.start(grid, model, num_rounds=int(config["rounds"]))
    out = Path(str(config["out"]))
    draft = out.with_suffix(".tmp")
    draft.write_text(json.dumps(strategy.seconds))
    draft.replace(out)
