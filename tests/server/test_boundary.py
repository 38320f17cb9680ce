"""What clients tell each other before round 1: who fails, who spoils it, who comes back."""

from __future__ import annotations

import numpy as np
import pytest
from faulty import changed, lost, raised

from umbel.errors import UmbelError
from umbel.messages import OFFER, TELL

pytest.importorskip("torch_geometric", reason="the extra `graph` is not installed")


@pytest.fixture
def clients(bench, tmp_path):
    """Three clients of a ring of nodes; `faults` by kind become of the replies of the second."""
    ring = np.arange(12)
    edges = np.stack([ring, (ring + 1) % 12], axis=1)
    np.savez(tmp_path / "ring.npz", x=np.eye(12, dtype=np.float32), y=ring % 2, edges=edges)
    made = bench.clients(
        bench.experiment(
            experiment={"rounds": 1, "seed": 5},
            data={"source": str(tmp_path / "ring.npz"), "clients": 3, "partition": "iid"},
            model={"name": "gcn", "hidden": 4},
            paradigm={"name": "fedgcn"},
            server={"retries": 1},
        )
    )
    honest, made.told = made.app, []

    def app(message, context):
        kind, node = message.metadata.message_type, message.metadata.dst_node_id
        reply = honest(message, context)
        if kind in (OFFER, TELL):
            made.told.append((kind, node))
            if node == 2 and made.faults.get(kind):
                return made.faults[kind].pop(0)(message, reply)
        return reply

    made.app = app
    return made


def test_all_clients_are_asked_though_few_train(bench, clients):
    bench.run(clients)
    asked = [(kind, node) for kind in (OFFER, TELL) for node in (1, 2, 3)]
    assert sorted(clients.told) == sorted(asked)
    assert any("what clients tell each other before round 1" in note for note in bench.log.notes)


def test_a_client_that_was_killed_knows_from_its_disk_what_it_was_told(bench, clients):
    calm = bench.run(clients, out="calm").model_sha256
    clients.app = lambda *message: clients.make_app(bench.tmp_path, None)(*message)
    assert bench.run(clients, out="killed").model_sha256 == calm


@pytest.mark.parametrize("kind", [OFFER, TELL])
@pytest.mark.parametrize("fault", [raised, lost])
def test_a_client_that_fails_is_asked_again(bench, clients, kind, fault):
    calm = bench.run(clients, out="calm").model_sha256
    before = len(clients.told)
    clients.faults[kind] = [fault]
    assert bench.run(clients, out="again").model_sha256 == calm
    assert len(clients.told) == before + 7


def test_a_client_that_goes_on_failing_ends_the_run_by_name(bench, clients):
    clients.faults[OFFER] = [raised, raised]
    with pytest.raises(UmbelError, match=r"client-1 did not answer \(RuntimeError: disk on fire\)"):
        bench.run(clients)
    assert bench.run(clients).status == "finished"


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (changed(boundary=lambda t: t | {"sums": t["sums"] / 0}), "sums holds a value that is not"),
        (changed(boundary=lambda t: {}), "it sends .*, not own, keys, sums and asks"),
        (changed(header={"client": "client-2"}), "it answers as 'client-2'"),
    ],
)
def test_a_bad_offer_ends_the_run_by_name(bench, clients, fault, said):
    clients.faults[OFFER] = [fault]
    with pytest.raises(UmbelError, match=f"client-1 is refused: {said}"):
        bench.run(clients)


def test_a_client_that_is_absent(bench, clients):
    clients.experiment = clients.experiment.model_copy(
        update={"data": clients.experiment.data.model_copy(update={"clients": 4})}
    )

    class Fewer:
        """A grid that lacks the fourth."""

        def __init__(self, grid):
            self._grid = grid

        def __getattr__(self, name):
            return getattr(self._grid, name)

        def get_node_ids(self):
            return [1, 2, 3]

    server = clients.experiment.server.model_copy(update={"wait": 0.2})
    clients.experiment = clients.experiment.model_copy(update={"server": server})
    with pytest.raises(UmbelError, match="3 of 4 clients are here, and fedgcn needs all of them"):
        bench.run(clients, wrap=Fewer)


def test_clients_tell_again_until_what_they_are_told_stays(bench, clients):
    """A ring of which every other node's class is known: no label travels far."""
    sections = clients.experiment.model_dump(exclude_unset=True)
    sections |= {"paradigm": {"name": "node-propagation"}}
    clients.experiment = type(clients.experiment)(**sections)
    calm = bench.run(clients, out="calm")
    turns = sum(kind == TELL for kind, _ in clients.told) / 3
    assert turns > 2 and len(clients.told) == 6 * turns
    assert any(f", in {turns:.0f} exchanges" in note for note in bench.log.notes)
    clients.faults = {OFFER: [raised], TELL: [lost]}
    again = bench.run(clients, out="again")
    assert again.metrics == calm.metrics and len(clients.told) == 12 * turns + 2
