"""Flower's own simulated nodes on Ray, started from inside: non-public modules of Flower's.

It stands apart from `flower_internals` because only `simulation.engine = "ray"` needs it, and
what it imports needs Ray.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from flwr.clientapp import ClientApp
from flwr.proto.task_pb2 import Task
from flwr.server.superlink.fleet import vce
from flwr.server.superlink.fleet.vce import vce_api
from flwr.server.superlink.fleet.vce.metrics import VceMetrics
from flwr.server.superlink.linkstate import LinkStateFactory
from flwr.server.superlink.linkstate.in_memory_linkstate import RunRecord
from flwr.serverapp import Grid
from flwr.supercore.constant import FLWR_IN_MEMORY_DB_NAME, NOOP_FEDERATION_ID
from flwr.supercore.object_store import ObjectStoreFactory
from flwr.superlink.federation import NoOpFederationManager
from flwr.superlink.grid import InMemoryGrid

from ..flower_internals import assume_server_identity, empty_run


@contextmanager
def simulated_nodes(app: ClientApp, nodes: int, backend: Mapping[str, Any]) -> Iterator[Grid]:
    """Nodes that run `app` on Flower's Ray backend, and the grid that reaches them.

    Flower's own `run_simulation` would run the ServerApp in a thread of its own and report
    the run to Flower Labs; here the caller is the server. Partition ids follow the order of
    the node ids.
    """
    run = empty_run(1)
    run.primary_task_id, run.federation_id = 1, NOOP_FEDERATION_ID
    assume_server_identity(run.run_id)
    factory = LinkStateFactory(
        FLWR_IN_MEMORY_DB_NAME, NoOpFederationManager(), ObjectStoreFactory()
    )
    state: Any = factory.state()
    state.run_ids[run.run_id] = RunRecord(run=run)
    state.task_store[run.primary_task_id] = Task(task_id=1, run_id=run.run_id)
    registered = sorted(vce_api._register_nodes(nodes, factory))
    stop = threading.Event()
    engine = threading.Thread(
        target=vce.start_vce,
        kwargs={
            "backend_name": "ray",
            "backend_config_json_stream": json.dumps(dict(backend)),
            "app_dir": "",
            "is_app": False,
            "f_stop": stop,
            "run": run,
            "metrics": VceMetrics(),
            "client_app": app,
            "state_factory": factory,
            "existing_nodes_mapping": {node: index for index, node in enumerate(registered)},
        },
        daemon=True,
    )
    grid = InMemoryGrid(factory)
    grid.set_run(run)
    engine.start()
    try:
        yield grid
    finally:
        stop.set()
        engine.join()
