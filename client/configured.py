"""What a node's own configuration names: its shard, and the folder of its state."""

from __future__ import annotations

from pathlib import Path

import torch
from flwr.app import Context

from ..data.shard import Shard
from ..errors import UmbelError


def shard_of_node(context: Context) -> Shard:
    """The shard that a node's own configuration names.

    `data` (a folder or a file) with `name`, `label` and `classes`, as `umbel client` and a stock
    SuperNode's `--node-config` give them; or Flower's `partition-id`, a share of the
    experiment that the run's configuration names, as in `flwr run` on simulated nodes.
    """
    from ..data import make_shards, read_shard

    config = context.node_config
    torch.set_num_threads(int(config.get("threads", 1)))
    if "data" in config:
        name, label, classes = (config.get(key) for key in ("name", "label", "classes"))
        return read_shard(
            str(config["data"]),
            client=str(name) if name else None,
            label=str(label) if label else None,
            classes=str(classes).split(",") if classes else None,
        )
    if "partition-id" in config and "experiment" in context.run_config:
        from ..experiment import experiment_file, load

        experiment = load(experiment_file(str(context.run_config["experiment"])))
        clients = int(config.get("num-partitions", experiment.data.clients))
        data = experiment.data.model_copy(update={"clients": clients})
        shards = make_shards(experiment.model_copy(update={"data": data}))
        return shards.shard(int(config["partition-id"]))
    raise UmbelError(
        "this node has no data: give it --node-config \"data='/path/to/shard'\", "
        "or start it with umbel client --data"
    )


def state_of_node(context: Context) -> Path:
    """The folder that a node's configuration names as `state`, or `.umbel/state` here."""
    return Path(str(context.node_config.get("state", Path(".umbel") / "state")))
