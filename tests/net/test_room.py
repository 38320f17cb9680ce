"""Updates that are more together than the SuperLink has room for."""

from __future__ import annotations

import json

import httpx
from lab import wait_for

from umbel.server.superlink import free_port


def serves(address: str) -> bool:
    try:
        return httpx.get(f"http://{address}/health").is_success
    except httpx.HTTPError:
        return False


def test_warm_and_stock_nodes_wait_for_room_and_lose_nothing(lab):
    path = lab.experiment(
        experiment={"rounds": 1},
        data={"clients": 4},
        model={"name": "mlp", "hidden": [16_000]},  # 4.8 MB, one of Flower's pieces
        client={"steps": 1},
        evaluation={"federated": False, "central": False},
    )
    expected = lab.umbel("simulate", path, "--out", "calm")[0]["model_sha256"]
    lab.shards(path)
    address = f"127.0.0.1:{free_port()}"
    lab.start("narrow.py", address.rpartition(":")[2], 4, "notes.json", log="narrow.txt")
    wait_for(lambda: serves(address), "SuperLink")
    for index in range(3):
        lab.client(address, f"client-{index}")
    lab.stock_client(address, "client-3")
    lab.umbel("run", path, "--server", address, "--out", "run")
    assert lab.sha256("run") == expected
    assert [record["failures"] for record in lab.records("run")] == [[]]
    noted = json.loads((lab.folder / "notes.json").read_text())
    assert noted["waited"] == 4 and 1 <= noted["most"] <= 2
    for index in range(3):
        said = (lab.folder / f"client-{index}.log").read_text()
        assert "cannot be reached" not in said, "it is there, and full"
