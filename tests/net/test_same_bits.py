"""The same experiment and seed give the same model, bit for bit, whatever the runtime."""

from __future__ import annotations


def test_simulation_with_two_workers(lab, simulated):
    options = ("--set", "simulation.workers=2")
    result, _ = lab.umbel("simulate", lab.experiment(), *options, "--out", "run")
    assert result["model_sha256"] == simulated == lab.sha256("run")


def test_warm_nodes(lab, simulated):
    result, _ = lab.umbel("up", lab.experiment(), "--out", "run")
    assert result["model_sha256"] == simulated == lab.sha256("run")
    assert [record["failures"] for record in lab.records("run")] == [[], []]


def test_stock_nodes(lab, simulated):
    result, _ = lab.umbel("up", lab.experiment(), "--stock-nodes", "--out", "run")
    assert result["model_sha256"] == simulated == lab.sha256("run")


def test_warm_and_stock_nodes_in_one_run(lab, simulated):
    """A SuperLink's clients may be of both kinds; the run is the same."""
    path = lab.experiment()
    lab.shards(path)
    address, _ = lab.server()
    lab.client(address, "client-0")
    lab.stock_client(address, "client-1")
    result, _ = lab.umbel("run", path, "--server", address, "--out", "run")
    assert result["model_sha256"] == simulated
