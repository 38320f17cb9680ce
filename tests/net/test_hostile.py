"""A hostile SuperLink costs a client the message, and the client says so and goes on."""

from __future__ import annotations

import gzip
import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, RecordDict
from hostile import Hostile, flood, plan, send
from lab import wait_for

from umbel.building import build_model, build_paradigm
from umbel.data import make_shards
from umbel.experiment import load
from umbel.messages import Envelope
from umbel.objects_internals import unfolded_bytes

LIMIT = 5_000_000


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    """A hostile SuperLink and the client that joined it."""
    from lab import Lab

    lab = Lab(tmp_path_factory.mktemp("hostile"))
    lab.shards(lab.experiment())
    (lab.folder / "site.toml").write_text(f"[limits]\nmax_message_bytes = {LIMIT}\n")
    with Hostile() as server:
        process = lab.client(server.address, "client-0", "--policy", "site.toml")
        lab.joined("client-0")
        yield Scene(lab, server, process)
    lab.close()


class Scene:
    def __init__(self, lab, server, process):
        self.lab, self.server, self.process = lab, server, process
        experiment = load(lab.folder / "experiment.toml")
        schema = make_shards(experiment).schema
        model = dict(build_model(build_paradigm(experiment), experiment, schema).state_dict())
        head = {"run": "run-1", "round": 1, "experiment": experiment.to_json(), "config": {}}
        self.honest = Envelope(head, {"model": model})

    def changed(self, groups=None, **header):
        return Envelope({**self.honest.header, **header}, groups or self.honest.groups)

    def send(self, spoilt):
        return self.server.send(spoilt if hasattr(spoilt, "answer") else plan(spoilt.to_record()))

    def files(self):
        """All there is but the client's own notes."""
        own = ("departures", "under-way")
        found = self.lab.folder.rglob("*")
        return {path for path in found if not any(word in path.name for word in own)}

    def assert_unharmed(self):
        """The client is the same process, of the same size, and does honest work."""
        assert self.process.poll() is None
        assert self.send(self.honest) == ""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        peak = next(line for line in status.splitlines() if line.startswith("VmHWM"))
        assert int(peak.split()[1]) < 1_500_000, peak


def with_blob(blob):
    """A message whose tensors are the given bytes."""

    def make(scene):
        header = json.dumps({"protocol": 1, **scene.honest.header})
        return plan(RecordDict({"umbel": ConfigRecord({"header": header, "tensors": blob})}))

    return make


def safetensors(shape, dtype="F32", size=8):
    header = {"model/w": {"dtype": dtype, "shape": shape, "data_offsets": [0, size]}}
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + bytes(8)


def pickled():
    file = io.BytesIO()
    np.save(file, np.array([{"run": "anything"}], dtype=object), allow_pickle=True)
    return file.getvalue()


def numpy_array(scene):
    """The tensors as one of Flower's own arrays of objects, a pickle inside."""
    header = json.dumps({"protocol": 1, **scene.honest.header})
    array = Array("object", (1,), "numpy.ndarray", pickled())
    record = {"umbel": ConfigRecord({"header": header})}
    return plan(RecordDict(record | {"umbel.tensors": ArrayRecord({"umbel.tensors": array})}))


def repeated_chunk(scene):
    """One chunk of 3 MB, called for half a million times by a few bytes."""
    blob = Array("uint8", (3_000_000,), "umbel.safetensors", bytes(3_000_000))
    record = scene.honest.to_record()
    record["umbel.tensors"] = ArrayRecord({"umbel.tensors": blob})
    made = plan(record)
    for name, content in made.objects.items():
        head, divider, body = content.partition(b"\x00")
        if head.startswith(b"Array "):
            spoilt = json.loads(body)
            spoilt["arraychunk_ids"] = spoilt["arraychunk_ids"] * 500_000
            made.objects[name] = head + divider + json.dumps(spoilt, separators=",:").encode()
    assert unfolded_bytes({n: c for n, c in made.objects.items() if c[:7] != b"Message"}) > 1e12
    return made


def too_large(scene):
    return plan(scene.changed({"model": {"w": torch.rand(2_000_000)}}).to_record())


def largest(made):
    return max(made.objects, key=lambda name: len(made.objects[name]))


def compressed(scene):
    """Ten thousand times its size once it is unpacked, if it were."""
    made = plan(scene.honest.to_record())
    bomb = gzip.compress(bytes(200_000_000))
    made.raw[largest(made)] = lambda handler: send(handler, bomb, content_encoding="gzip")
    return made


def endless(scene):
    made = plan(scene.honest.to_record())
    made.raw[largest(made)] = flood
    return made


def many_layers(scene):
    experiment = json.loads(scene.honest.header["experiment"])
    experiment["model"]["hidden"] = [3] * 100_000
    return scene.changed(experiment=json.dumps(experiment))


def huge_model(scene):
    experiment = json.loads(scene.honest.header["experiment"])
    experiment["model"]["hidden"] = [10**6, 10**6]
    return scene.changed(experiment=json.dumps(experiment))


def named(section, name):
    def make(scene):
        experiment = json.loads(scene.honest.header["experiment"])
        experiment[section]["name"] = name
        return scene.changed(experiment=json.dumps(experiment))

    return make


def broken_objects(scene):
    made = plan(scene.honest.to_record())
    made.objects[largest(made)] = b"Nonsense"
    return made


MESSAGES = {
    "message too large": (too_large, "larger than"),
    "compressed answer": (compressed, "compressed, which was not asked for"),
    "endless answer": (endless, "larger than 6000000 bytes"),
    "repeated chunk": (repeated_chunk, "unfolds to more than 5000000 bytes"),
    "objects that are none": (broken_objects, "the message cannot be read"),
    "header says 10 TB": (with_blob(safetensors([2_500_000_000_000])), "not a safetensors blob"),
    "header says 10 TB of bytes": (
        with_blob(safetensors([2_500_000_000_000], size=10**13)), "not a safetensors blob"
    ),
    "shape that overflows": (with_blob(safetensors([2**32, 2**32])), "not a safetensors blob"),
    "object dtype": (with_blob(safetensors([1], "OBJECT")), "not a safetensors blob"),
    "pickle in place of tensors": (with_blob(pickled()), "not a safetensors blob"),
    "array with a pickle inside": (numpy_array, "not a safetensors blob"),
    "huge model": (huge_model, "more than limits.max_model_bytes"),
    "many layers": (many_layers, "the experiment is longer than"),
    "unknown strategy": (named("strategy", "fedavgg"), "'fedavgg' is unknown"),
    "import path of a strategy": (named("strategy", "os:system"), "does not allow imports of os"),
    "import path of a model": (named("model", "subprocess:Popen"), "imports of subprocess"),
    "path as the run": (lambda s: s.changed(run="../../../etc"), "not the name of a run"),
    "absolute path as the run": (lambda s: s.changed(run="/tmp/x"), "not the name of a run"),
    "nul in the run": (lambda s: s.changed(run="a\0b"), "not the name of a run"),
    "run that is no text": (lambda s: s.changed(run=["a"]), "not the name of a run"),
    "path as the round": (lambda s: s.changed(round="../../../etc"), "'../../../etc' is not a round"),
    "round without an end": (lambda s: s.changed(round=10**400), "not a round"),
    "round before the first": (lambda s: s.changed(round=-1), "not a round"),
    "path as a strategy": (named("strategy", "../../evil"), "'../../evil' is unknown"),
    "tensor named as a path": (
        lambda s: s.changed({"model": {"../../evil": torch.ones(1)}}), "does not fit"
    ),
    "no header": (lambda s: plan(RecordDict({})), "it has no header"),
}  # fmt: skip


@pytest.mark.parametrize("name", MESSAGES)
def test_a_hostile_message_is_turned_away_with_the_reason(scene, name):
    make, reason = MESSAGES[name]
    before = scene.files()
    assert reason in scene.send(make(scene))
    scene.assert_unharmed()
    assert scene.files() == before, "something was written"


@pytest.mark.parametrize(
    "answer",
    [
        b"\xff" * 100,
        plan(RecordDict({})).answer.SerializeToString()[:-5],
        b"\x12" + b"\xff\xff\xff\x07" + b"a",
        bytes(7_000_000),
    ],
    ids=["no protobuf", "cut short", "length that lies", "too large"],
)
def test_an_announcement_that_is_none_is_passed_over(scene, answer):
    scene.server.plans.put(answer)
    wait_for(scene.server.plans.empty, "look for work")
    scene.assert_unharmed()


def test_a_redirection_is_not_followed(scene):
    made = plan(scene.honest.to_record())

    def redirect(handler):
        handler.send_response(307)
        handler.send_header("location", f"http://{scene.server.address}/v1/fleet/elsewhere")
        handler.send_header("content-length", "0")
        handler.end_headers()

    made.raw[largest(made)] = redirect
    scene.server.plans.put(made)
    wait_for(scene.server.plans.empty, "look for work")
    scene.assert_unharmed()
    assert not scene.server.redirected.is_set()


def test_what_a_message_calls_itself_cannot_write_into_the_log(scene):
    scene.server.send(plan(scene.honest.to_record(), group="1\n2026 ERROR all is lost\x1b[2J"))
    log = (scene.lab.folder / "client-0.log").read_text()
    assert "\x1b" not in log and not any(line.startswith("2026 ERROR") for line in log.splitlines())
