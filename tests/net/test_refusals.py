"""What cannot work is refused in one line, with exit code 2, and leaves nothing behind."""

from __future__ import annotations

import socket

import numpy as np
import pytest
from lab import DEADLINE

from umbel.client.node import NodeOptions, run_node
from umbel.errors import BadInput
from umbel.server.superlink import free_port


def test_up_on_a_port_in_use(lab):
    with socket.create_server(("127.0.0.1", 0)) as owner:
        port = owner.getsockname()[1]
        _, said = lab.umbel("up", lab.experiment(), "--port", port, "--out", "run", code=2)
    assert len(said.splitlines()) == 1
    assert f"--port {port}" in said
    assert not (lab.folder / "run").exists()


def test_server_on_a_port_in_use(lab):
    with socket.create_server(("127.0.0.1", 0)) as owner:
        process = lab.start("server", "--port", owner.getsockname()[1])
        _, said = process.communicate(timeout=DEADLINE)
    assert process.returncode == 2
    assert len(said.decode().splitlines()) == 1


def test_run_at_a_server_that_cannot_be_reached(lab):
    address = f"127.0.0.1:{free_port()}"
    path = lab.experiment()
    _, said = lab.umbel("run", path, "--server", address, "--out", "run", code=2)
    assert len(said.splitlines()) == 1
    assert address in said
    assert not (lab.folder / "run").exists()


def test_node_at_a_server_that_cannot_be_reached(tmp_path):
    address = f"127.0.0.1:{free_port()}"
    options = NodeOptions(address, tmp_path, connect=0.2)
    with pytest.raises(BadInput, match=f"{address}: no SuperLink"):
        run_node(options, lambda: pytest.fail("nothing to run"))


def test_second_client_with_the_same_state(lab):
    path = lab.experiment()
    lab.shards(path)
    address, _ = lab.server()
    lab.client(address, "client-0")
    lab.joined("client-0")
    second = lab.client(address, "client-0")
    assert second.wait(DEADLINE) == 2
    assert "another client is using it" in (lab.folder / "client-0.log").read_text()


def test_clients_with_different_schemas(lab):
    path = lab.experiment()
    lab.shards(path)
    table = lab.folder / "shards" / "client-1"
    np.savez(lab.folder / "other.npz", x=np.zeros((20, 3), np.float32), y=np.arange(20) % 2)
    table.rename(lab.folder / "unused")
    (lab.folder / "other.npz").rename(table.with_suffix(".npz"))
    address, _ = lab.server()
    lab.client(address, "client-0")
    lab.client(address, "client-1.npz", "--name", "client-1")
    lab.joined("client-0")
    lab.joined("client-1.npz")
    _, said = lab.umbel("run", path, "--server", address, "--out", "run", code=2)
    assert "client-1 does not match client-0" in said
    assert not (lab.folder / "run").exists()
