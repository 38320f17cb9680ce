"""The handshake: who is waited for, who is left out, and who comes back."""

import math

import pytest
from faulty import raised
from flwr.app import Message

from umbel.client.policy import Leave, Policy
from umbel.client.release import release
from umbel.errors import BadInput, UmbelError
from umbel.messages import Envelope
from umbel.schema import Schema
from umbel.server.exchange import Reply
from umbel.server.introduction import read_introduction
from umbel.server.population import natural


class Partial:
    """A grid whose nodes appear one look after another."""

    def __init__(self, grid, shown):
        self._grid, self._shown = grid, iter(shown)
        self._now = []

    def __getattr__(self, name):
        return getattr(self._grid, name)

    def get_node_ids(self):
        self._now = next(self._shown, self._now)
        return self._now


def test_the_run_waits_for_all_clients_and_orders_them_by_name(bench):
    experiment = bench.experiment()
    shown = [[], [3], [3, 1], [3, 1, 4], [3, 1, 4, 2]]
    waited = bench.run(bench.clients(experiment), wrap=lambda grid: Partial(grid, shown))
    assert bench.log.cohorts[0] == ["client-0", "client-1", "client-2", "client-3"]
    assert waited.model_sha256 == bench.run(bench.clients(experiment), out="all").model_sha256


def test_the_wait_ends_and_the_run_goes_on_with_those_who_came(bench):
    experiment = bench.experiment(server={"wait": 0.3})
    bench.run(bench.clients(experiment), wrap=lambda grid: Partial(grid, [[1, 2]]))
    assert bench.log.cohorts[0] == ["client-0", "client-1"]
    assert any("2 of 4 clients" in note for note in bench.log.notes)


def test_nobody_within_the_wait_is_an_error_that_says_what_to_do(bench):
    experiment = bench.experiment(server={"wait": 0.2})
    with pytest.raises(UmbelError, match=r"0 of 4 clients answered.*server\.wait"):
        bench.run(bench.clients(experiment), wrap=lambda grid: Partial(grid, [[]]))


def test_a_client_that_joins_later_takes_part_from_then_on(bench):
    experiment = bench.experiment(server={"wait": 0.1})
    clients = bench.clients(experiment)
    grids = []

    def wrap(grid):
        grids.append(Partial(grid, [[1, 2, 3]]))
        return grids[0]

    honest = bench.log.round_finished

    def join(record):
        honest(record)
        grids[0]._shown = iter([[1, 2, 3, 4]])

    bench.log.round_finished = join
    bench.run(clients, wrap=wrap)
    assert [len(cohort) for cohort in bench.log.cohorts] == [3, 4, 4]


class Cut:
    """A grid whose clients are all away for some looks, from their second training on."""

    def __init__(self, grid, clients, looks):
        self._grid, self._clients, self._looks = grid, clients, looks

    def __getattr__(self, name):
        return getattr(self._grid, name)

    def get_node_ids(self):
        gone = any(round == 2 for _, round in self._clients.trained)
        if gone and self._looks:
            self._looks -= 1
            if not self._looks:
                self._clients.faults.clear()
            return []
        return self._grid.get_node_ids()


def test_a_round_is_repeated_when_its_clients_are_back_and_not_before(bench):
    calm = bench.run(bench.clients(bench.experiment()), out="calm")
    clients = bench.clients(bench.experiment())
    clients.faults = {(client, 2): raised for client in range(4)}
    cut = bench.run(clients, wrap=lambda grid: Cut(grid, clients, looks=3))
    assert cut.model_sha256 == calm.model_sha256
    assert [record["attempts"] for record in bench.log.records[3:]] == [1, 2, 1]
    waits = [wait for wait in bench.log.waits if wait.what == "round 2 again"]
    assert waits[0].whom == ["client-0", "client-1", "client-2", "client-3"]


def test_the_wait_for_clients_of_a_round_ends_too(bench):
    experiment = bench.experiment(server={"wait": 0.1, "deadline": 2.0, "retries": 1})
    clients = bench.clients(experiment)
    clients.faults = {(client, 2): raised for client in range(4)}
    with pytest.raises(UmbelError, match="2 tries; the last failures: client-0"):
        bench.run(clients, wrap=lambda grid: Cut(grid, clients, looks=1000))
    assert any(0.1 < wait.left <= 2.0 for wait in bench.log.waits)


def test_a_large_population_is_asked_only_when_it_takes_part(bench):
    experiment = bench.experiment(
        data={"clients": 5000, "partition": {"name": "bootstrap", "examples": 20}},
        strategy={"name": "fedavg", "fraction": 0.001},
        evaluation={"clients": 3},
    )
    clients = bench.clients(experiment)
    queries = []
    honest = clients.app

    def counted(message, context):
        if message.metadata.message_type == "query":
            queries.append(message.metadata.dst_node_id)
        return honest(message, context)

    clients.app = counted
    summary = bench.run(clients)
    assert summary.status == "finished"
    assert len(queries) == len(set(queries)) <= 1 + 3 * (5 + 3)


LABELLED = {"clients": 3, "labels": 12, "held_out": 0.2}


@pytest.mark.parametrize(
    ("policies", "told"),
    [(0, True), (1, False)],
    ids=["all tell", "one site keeps it back"],
)
def test_classes_without_a_label_are_named_where_all_clients_tell(bench, policies, told):
    """What may leave a site's policy says; without one's answer nothing is sure."""
    clients = bench.clients(bench.experiment(data={**LABELLED, "labels": 7}))
    honest, silent = clients.app, Policy(leave=Leave(statistics=["loss"]))

    def answered(message, context):
        reply = honest(message, context)
        if message.metadata.message_type == "query" and message.metadata.dst_node_id <= policies:
            envelope = Envelope.from_record(reply.content)
            assert len(envelope.header["labels"]) > 0
            released = release(silent, "query", {}, envelope)
            assert "labels" not in released.header and "examples" in released.header
            return Message(released.to_record(), reply_to=message)
        return reply

    clients.app = answered
    bench.run(clients)
    lacking = [text for text in bench.log.notes if "no client has a label of" in text]
    assert len(lacking) == told
    if told:
        known = {code for k in range(3) for code in clients.shards.labels(k).tolist()} - {-1}
        shown = ", ".join(str(code) for code in range(10) if code not in known)
        assert lacking == [f"no client has a label of {shown}, so they are never learnt"]


@pytest.mark.parametrize(
    ("paradigm", "said"),
    [
        ("fixmatch", "fixmatch learns from labels, too, and no client has one; label some"),
        ("supervised", "supervised learns from labels, and no client has one to train on; label"),
    ],
)
@pytest.mark.parametrize("server", [None, "digits"])
def test_no_label_anywhere_is_refused(bench, paradigm, said, server):
    """Also where the server has some, and the strategy does not learn from them."""
    data = LABELLED | ({} if server is None else {"server": server})
    clients = bench.clients(bench.experiment(data=data, paradigm={"name": paradigm}))
    honest = clients.app

    def answered(message, context):
        reply = honest(message, context)
        if message.metadata.message_type != "query":
            return reply
        header = Envelope.from_record(reply.content).header | {"labels": []}
        return Message(Envelope(header).to_record(), reply_to=message)

    clients.app = answered
    with pytest.raises(BadInput, match=said):
        bench.run(clients)


@pytest.mark.parametrize(
    "told",
    [
        *({"links": value} for value in (-1, 1.0, True, "3", [3], 10**12 + 1, math.nan)),
        *({"homophily": value} for value in (-0.1, 1.1, math.nan, math.inf, True, "0.5", [1])),
    ],
    ids=str,
)
def test_what_cannot_be_of_a_graph_is_refused(told):
    schema = Schema("node-classification", (2,), "float32", ("0", "1"))
    honest = {"client": "a", "schema": schema.to_json(), "links": 4, "homophily": 1}
    assert read_introduction(Reply(1, "ok", Envelope(honest).to_record())).graph == {
        "links": 4,
        "homophily": 1,
    }
    record = Envelope({**honest, **told}).to_record()
    with pytest.raises(ValueError, match="is not a (number|share) of edges"):
        read_introduction(Reply(1, "ok", record))


def test_names_are_ordered_as_people_count():
    assert sorted(["b", "client-10", "client-9", "a1"], key=natural) == [
        "a1",
        "b",
        "client-9",
        "client-10",
    ]


@pytest.mark.parametrize(
    "name", ["../evil", "a/b", "..", ".x", "a\n", "a\0b", "", "x" * 101, "C:\\x", 7, None]
)
def test_a_name_that_could_be_a_path_is_no_clients_name(name):
    schema = Schema("classification", (2,), "float32", ("0", "1"))
    record = Envelope({"client": name, "schema": schema.to_json()}).to_record()
    with pytest.raises(ValueError, match="is not a client's name"):
        read_introduction(Reply(1, "ok", record))
