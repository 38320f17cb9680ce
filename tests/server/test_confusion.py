"""What clients tell of the classes that they confuse is believed as far as it can be checked."""

from __future__ import annotations

import torch
from faulty import asked_more, envelope_of, raised
from flwr.app import Message

from umbel.confusion import read_confusion
from umbel.messages import CONFUSION, Envelope

ONE = [[0, 0, 1]]


def telling(change):
    """The clients, with what `change(client index, counts)` makes of their counts by class."""

    def lie(message, reply):
        honest, index = envelope_of(reply), message.metadata.dst_node_id - 1
        groups = change(index, honest.groups["statistics"][CONFUSION])
        if groups is None:
            return raised(message, reply)
        return Message(Envelope(honest.header, groups).to_record(), reply_to=message)

    return asked_more(CONFUSION, lie)


def told(rows, dtype=torch.int64):
    return {"statistics": {CONFUSION: torch.tensor(rows, dtype=dtype)}}


LIES = {
    1: (told([[0, 0, -3]]), "a count by class is not in 1 to 10000000"),
    2: (told([[0, 10, 3]]), "it counts a class that is none of the 10"),
    3: (told([[-1, 0, 3]]), "it counts a class that is none of the 10"),
    4: (told([[0, 0, 2**62], [0, 1, 2**62]]), "a count by class is not in 1 to 10000000"),
    5: (told([[0, 0, 9_000_000], [0, 1, 9_000_000]]), "18000000 held-out examples are more"),
    6: (told(ONE * 2), "it counts the same pair of classes twice"),
    7: (told(ONE, torch.float32), "no table of three columns of whole numbers"),
    8: (told([[0, 0]]), "no table of three columns of whole numbers"),
    9: (told([[0, 0, 1]] * 101), "it tells 101 counts of 10 classes"),
    10: ({}, "it does not tell the counts by class, and nothing else"),
    11: ({"update": {CONFUSION: torch.ones(1)}}, "unknown group of tensors 'update'"),
    12: (None, "disk on fire"),
}


def test_lies_are_refused_and_the_others_count(bench):
    asked = bench.experiment(
        experiment={"rounds": 1, "seed": 5}, data={"clients": 14}, evaluation={"confusion": True}
    )
    bench.run(bench.clients(asked), out="honest")
    clients = bench.clients(asked)
    lie = telling(lambda index, counts: LIES[index][0] if index in LIES else told(counts.tolist()))
    clients.app = lie(clients.app)
    assert bench.run(clients).status == "finished"
    found, truth = (read_confusion(bench.tmp_path / name) for name in ("run", "honest"))
    kept = [f"client-{index}" for index in range(14) if index not in LIES]
    assert found.counts == {client: truth.counts[client] for client in kept}
    reasons = dict(found.left_out)
    assert list(reasons) == [f"client-{index}" for index in LIES]
    for index, (_, reason) in LIES.items():
        assert reason in reasons[f"client-{index}"]
    assert "told by 2 clients; 12 left out (client-1: a count by class" in found.summary
