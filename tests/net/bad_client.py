"""A client process that breaks one rule a round: `bad_client.py ADDRESS SHARD STATE FAULT...`.

The n-th FAULT is what becomes of its training reply in round n.
"""

from __future__ import annotations

import hashlib
import io
import json
import sys
import time
from pathlib import Path

import numpy as np
import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, RecordDict
from flwr.supercore.inflatable.inflatable_object import iterate_object_tree

from umbel.client import fleet
from umbel.client.node import NodeOptions, run_node
from umbel.client.site import Site, make_site_app
from umbel.messages import Envelope
from umbel.objects_internals import Outgoing


def with_update(change):
    def fault(envelope):
        update = dict(envelope.groups["update"])
        change(update)
        return Envelope(envelope.header, {**envelope.groups, "update": update})

    return fault


def with_examples(count):
    def fault(envelope):
        return Envelope({**envelope.header, "examples": count}, envelope.groups)

    return fault


def first(update):
    return sorted(update)[0]


def make_nan(update):
    update[first(update)] = torch.full_like(update[first(update)], float("nan"))


def make_longer(update):
    update[first(update)] = torch.cat([update[first(update)].flatten(), torch.zeros(1)])


FAULTS = {
    "nan": with_update(make_nan),
    "shape": with_update(make_longer),
    "missing": with_update(lambda update: update.pop(first(update))),
    "extra": with_update(lambda update: update.update({"stowaway": torch.zeros(1)})),
    "path": with_update(lambda update: update.update({"../../../evil": torch.zeros(1)})),
    "group named as a path": lambda e: Envelope(
        e.header, {**e.groups, "../evil": e.groups["update"]}
    ),
    "client named as a path": lambda e: Envelope({**e.header, "client": "../../evil"}, e.groups),
    "examples=0": with_examples(0),
    "examples=-1": with_examples(-1),
    "examples=2**62": with_examples(2**62),
}


def with_tensors(blob):
    """Packed tensors of its own making, in place of those of the update."""

    def fault(record):
        header = record["umbel"]["header"]
        return RecordDict({"umbel": ConfigRecord({"header": header, "tensors": blob})})

    return fault


def with_array(*array):
    """The tensors as one of Flower's own arrays."""

    def fault(record):
        header = ConfigRecord({"header": record["umbel"]["header"]})
        arrays = ArrayRecord({"umbel.tensors": Array(*array)})
        return RecordDict({"umbel": header, "umbel.tensors": arrays})

    return fault


def pickled():
    file = io.BytesIO()
    np.save(file, np.array([{"run": "anything"}], dtype=object), allow_pickle=True)
    return file.getvalue()


def of_dtype(dtype):
    entry = {"dtype": dtype, "shape": [1], "data_offsets": [0, 8]}
    header = json.dumps({"update/w": entry}).encode()
    return len(header).to_bytes(8, "little") + header + bytes(8)


BOMB = ("uint8", (3_000_000,), "umbel.safetensors", bytes(3_000_000))
RECORDS = {
    "bomb": with_array(*BOMB),
    "pickle": with_tensors(pickled()),
    "pickled array": with_array("object", (1,), "numpy.ndarray", pickled()),
    "object dtype": with_tensors(of_dtype("OBJECT")),
    "no record": lambda record: RecordDict({}),
}
"""What becomes of a reply that breaks the rules below those of an envelope."""


class Bomb(Outgoing):
    """A reply whose array calls for its one chunk half a million times, with honest ids."""

    def __init__(self, message):
        super().__init__(message)
        contents = {name: make() for name, make in self.objects.items()}
        self.objects = {}
        renamed = {}
        for name, content in contents.items():  # children before parents
            for old, new in renamed.items():
                content = content.replace(old.encode(), new.encode())
            head, divider, body = content.partition(b"\x00")
            if head.startswith(b"Array "):
                facts = json.loads(body)
                facts["arraychunk_ids"] = facts["arraychunk_ids"] * 500_000
                body = json.dumps(facts).encode()
                head = b" ".join([*head.split(b" ")[:-1], str(len(body)).encode()])
                content = head + divider + body
            renamed[name] = hashlib.sha256(content).hexdigest()
            self.objects[renamed[name]] = lambda content=content: content
        for node in iterate_object_tree(self.tree):
            node.object_id = renamed[node.object_id]
        self.announcement.metadata.message_id = self.tree.object_id


class BadApp:
    """An honest ClientApp whose replies are tampered with."""

    def __init__(self, app, faults):
        self._app = app
        self._faults = faults

    def __call__(self, message, context):
        if message.metadata.message_type != "train":
            return self._app(message, context)
        round = int(message.metadata.group_id)
        fault = self._faults[round - 1] if round <= len(self._faults) else "none"
        if fault == "raise":
            raise RuntimeError("disk on fire")
        if fault.startswith("hang="):
            time.sleep(float(fault.removeprefix("hang=")))
        reply = self._app(message, context)
        fleet.Outgoing = Bomb if fault == "bomb" else Outgoing
        if fault in FAULTS:
            content = FAULTS[fault](Envelope.from_record(reply.content)).to_record()
        elif fault in RECORDS:
            content = RECORDS[fault](reply.content)
        else:
            return reply
        return Message(content, reply_to=message)


def main(address, data, state, *faults):
    site = Site(data, Path(state) / "state", "client-1")
    shard = site.read()
    options = NodeOptions(address=address, state=Path(state), error_texts=True)
    run_node(options, lambda: BadApp(make_site_app(site, shard), faults))


if __name__ == "__main__":
    main(*sys.argv[1:])
