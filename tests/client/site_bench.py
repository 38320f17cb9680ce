"""A site's app in this process, and messages as a server, honest or not, would send them."""

from __future__ import annotations

import numpy as np
from flwr.app import Context, Message, RecordDict

from umbel.building import build_model, build_paradigm
from umbel.client.policy import Policy
from umbel.client.site import Site, make_site_app
from umbel.data.shard import Shard
from umbel.experiment import Experiment
from umbel.flower_internals import assume_identity
from umbel.messages import Envelope
from umbel.schema import Schema

SCHEMA = Schema("classification", (4,), "float32", ("a", "b"))
EXAMPLES = 437


def shard(examples: int = EXAMPLES) -> Shard:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(examples, 4)).astype(np.float32)
    return Shard("site-a", SCHEMA, {"x": x, "y": (x[:, 0] > 0).astype(np.int64)})


def experiment(**sections) -> Experiment:
    sections.setdefault("model", {"name": "mlp", "hidden": [3]})
    sections.setdefault("data", {"held_out": 0.2})
    return Experiment(**sections)


def model(of: Experiment) -> dict:
    """What travels of it."""
    paradigm = build_paradigm(of, told=True)
    built = build_model(paradigm, of, SCHEMA)
    tensors = built.state_dict()
    return {name: tensors[name] for name in paradigm.travels(built)}


class SiteBench:
    """Asks a site, and gives its reply's envelope; `raw` is the last reply itself."""

    def __init__(
        self,
        folder,
        policy: dict | None = None,
        examples: int = EXAMPLES,
        held: Shard | None = None,
    ) -> None:
        site = Site("", folder / "state", policy=Policy(**(policy or {})))
        self.app = make_site_app(site, shard(examples) if held is None else held)
        self.message: Message | None = None
        self.raw: Message | None = None

    def ask(self, kind: str, header: dict, groups: dict | None = None) -> Envelope:
        return self.send(kind, Envelope(header, groups or {}).to_record())

    def send(self, kind: str, record: RecordDict) -> Envelope:
        assume_identity(1, 7)
        self.message = Message(record, dst_node_id=7, message_type=kind, group_id="1")
        self.raw = self.app(self.message, Context(1, 7, {}, RecordDict(), {}))
        return Envelope.from_record(self.raw.content)

    def train(self, of: Experiment | None = None, groups: dict | None = None, **header) -> Envelope:
        of = of or experiment()
        head = {"run": "run-1", "round": 1, "experiment": of.to_json(), "config": {}, **header}
        return self.ask("train", head, groups or {"model": model(of)})

    def evaluate(self, of: Experiment | None = None, **header) -> Envelope:
        of = of or experiment()
        head = {"run": "run-1", "round": 1, "experiment": of.to_json(), "config": {}, **header}
        return self.ask("evaluate", head, {"model": model(of)})
