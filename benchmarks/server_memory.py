"""Peak memory of the server's two processes while a hundred clients send 25 M float32 parameters.

`umbel server` and `umbel run` over loopback, and nodes that speak the real protocol through
`FleetLink`, many in a process: each takes the model it is sent, lets go of it, and answers with
an update of its own, all at once. No two share a byte of what travels, though in this machine's
memory they are views of one file. What a process takes is its peak (Linux's VmHWM) beside that of
the same run with a model of a few parameters, in models.

    python benchmarks/server_memory.py [--clients 100] [--rounds 2] [--json]

Needs Linux. Exits with 1 where the SuperLink or the run takes 4 models or more, or where an
update was lost.
"""

from __future__ import annotations

import argparse
import json
import mmap
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from flwr.app import Message, RecordDict

from umbel.client.delivery import Delivery, Obsolete
from umbel.client.fleet import FleetLink
from umbel.client.identity import Identity
from umbel.experiment import Experiment
from umbel.flower_internals import Node, PullObjectRequest, assume_identity
from umbel.messages import INLINE_LIMIT, Envelope
from umbel.models.reference import mlp
from umbel.objects_internals import large_objects, object_ids
from umbel.processes import stop_all
from umbel.schema import Schema
from umbel.server.superlink import free_port
from umbel.tensors import pack
from umbel.transfer import each

TARGET = 4.0
HIDDEN = (4900, 5000)
NODE_PROCESSES = 2
DEADLINE = 1800.0
BEAT_SECONDS = 10.0
EXAMPLES = 14
SCHEMA = Schema("classification", (8, 8), "uint8", tuple("0123456789"))


@dataclass(frozen=True)
class Row:
    """What a run has taken; memory in bytes."""

    model: int
    server: int
    run: int
    seconds: list[float]
    lost: int


def experiment(clients: int, rounds: int, hidden: tuple[int, ...]) -> Experiment:
    return Experiment(
        experiment={"name": "server-memory", "rounds": rounds, "seed": 1},
        data={"source": "digits", "clients": clients, "held_out": 0.0},
        model={"name": "mlp", "hidden": list(hidden)},
        client={"steps": 1},
        evaluation={"federated": False, "central": False},
        server={"wait": 600.0},
    )


def write_update(path: Path, clients: int, hidden: tuple[int, ...]) -> int:
    """Write what all clients' updates are views of, each a page further; bytes of the model."""
    model = mlp(SCHEMA, hidden=list(hidden)).state_dict()
    blobs: list[bytes] = []

    def packed(tensors: Mapping[str, torch.Tensor]) -> bytes:
        blobs.append(pack(tensors))
        return blobs[0]

    Envelope({}, {"update": model}).to_record(packed)
    start = 8 + int.from_bytes(blobs[0][:8], "little")
    values = (len(blobs[0]) - start + clients * mmap.PAGESIZE) // 4
    with path.open("wb") as file:
        file.write(blobs[0][:start])
        file.write((1e-3 * torch.randn(values)).numpy().data)
    return sum(tensor.nbytes for tensor in model.values())


class Link(FleetLink):
    """A node's link that looks at no model."""

    def fetch(self, delivery: Delivery) -> Message:
        if not large_objects(delivery.tree):
            return super().fetch(delivery)

        def pull(name: str) -> bytes:
            node = Node(node_id=self.node)
            request = PullObjectRequest(node=node, run_id=delivery.run, object_id=name)
            while not self._ask(lambda: self._client.PullObject(request)).object_available:
                time.sleep(0.1)
            return b""

        each(self._movers, pull, object_ids(delivery.tree))
        return delivery.message


class Client:
    """Answers what it is asked with what lies ready."""

    identity = threading.Lock()

    def __init__(self, number: int, update: Path, address: str, folder: Path) -> None:
        self._name = f"client-{number:03}"
        with update.open("rb") as file:
            first = file.read(65_536)
            start = 8 + int.from_bytes(first[:8], "little")
            header = json.loads(first[8:start])
            size = start + max(entry["data_offsets"][1] for entry in header.values())
            offset = number * mmap.PAGESIZE
            pages = mmap.mmap(file.fileno(), size, mmap.MAP_PRIVATE, offset=offset)
        pages[:start] = first[:start]
        self._update = pages[:] if size < INLINE_LIMIT else memoryview(pages)
        self._never = threading.Event()
        self.link = Link(
            address,
            Identity(folder / self._name),
            root_certificates=None,
            patience=DEADLINE,
            stopped=self._never,
        )
        self.link.join()

    def serve(self) -> None:
        while True:
            delivery = self.link.pull()
            if delivery is None:
                self.link.await_news()
                continue
            message = self.link.fetch(delivery)
            with self.identity:
                assume_identity(delivery.run, self.link.node)
                reply = Message(self._answer(message.metadata.message_type), reply_to=message)
            with suppress(Obsolete):
                self.link.answer(delivery, reply, 0.0)

    def beat(self) -> None:
        while True:
            time.sleep(BEAT_SECONDS)
            self.link.heartbeat()

    def _answer(self, kind: str) -> RecordDict:
        header: dict[str, object] = {"client": self._name, "examples": EXAMPLES}
        if kind == "query":
            return Envelope({**header, "schema": SCHEMA.to_json()}).to_record()
        header |= {"metrics": {"loss": 1.0, "examples": EXAMPLES}, "steps": 1, "seconds": 0.0}
        some = {"update": {"any": torch.zeros(1)}}
        return Envelope(header, some).to_record(lambda _: self._update)


def serve(numbers: Sequence[int], update: Path, address: str, folder: Path) -> None:
    """Be some of the clients, until killed."""
    clients = [Client(number, update, address, folder) for number in numbers]
    for client in clients:
        threading.Thread(target=client.serve, daemon=True).start()
        threading.Thread(target=client.beat, daemon=True).start()
    print("joined", flush=True)
    threading.Event().wait()


def peak(pid: int) -> int:
    """A process's peak resident memory in bytes; 0 when it is gone."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    return 1024 * int(found.group(1)) if found else 0


def superlink_of(server: int) -> int:
    """The process of the SuperLink that `umbel server` has started."""
    below = Path(f"/proc/{server}/task/{server}/children").read_text().split()
    return next(int(p) for p in below if "superlink" in Path(f"/proc/{p}/cmdline").read_text())


def measure(clients: int, rounds: int, hidden: tuple[int, ...], folder: Path) -> Row:
    """Run it once, in fresh processes."""
    update, port = folder / "update.bin", free_port()
    model = write_update(update, clients, hidden)
    address = f"127.0.0.1:{port}"
    path = folder / "experiment.toml"
    path.write_text(experiment(clients, rounds, hidden).to_toml())
    umbel = [sys.executable, "-m", "umbel"]
    log = folder / "log"
    processes = [start([*umbel, "server", "--port", str(port)], log)]
    try:
        until(lambda: b"serving at" in log.read_bytes(), "server", processes)
        joined = []
        for first in range(NODE_PROCESSES):
            numbers = [str(n) for n in range(first, clients, NODE_PROCESSES)]
            command = [sys.executable, __file__, "--address", address, "--serve", *numbers]
            processes.append(start(command, log, subprocess.PIPE))
            joined.append(processes[-1].stdout)
        for out in joined:
            if out is None or not out.readline():
                raise SystemExit(f"the clients have ended: {log.read_text()[-2000:]}")
        superlink = superlink_of(processes[0].pid)
        run = start([*umbel, "run", str(path), "--server", address, "--out", "run"], log)
        processes.append(run)
        highest, end = 0, time.monotonic() + DEADLINE
        while run.poll() is None and time.monotonic() < end:
            highest = max(highest, peak(run.pid))
            time.sleep(0.05)
        records = (folder / "run" / "metrics.jsonl").read_text().splitlines()
        rows = [json.loads(record) for record in records]
        lost = sum(len(row["failures"]) for row in rows) + clients * (rounds - len(rows))
        seconds = [round(row["seconds"]["train"], 1) for row in rows]
        return Row(model, peak(superlink), highest, seconds, lost)
    finally:
        stop_all(processes)


def start(command: list[str], log: Path, out: int | None = None) -> subprocess.Popen[bytes]:
    with log.open("ab") as file:
        return subprocess.Popen(
            command,
            stdout=out or file,
            stderr=file,
            cwd=log.parent,
            start_new_session=True,
        )


def until(
    found: Callable[[], bool], what: str, processes: Sequence[subprocess.Popen[bytes]]
) -> None:
    while not found():
        if any(process.poll() is not None for process in processes):
            raise SystemExit(f"no {what}: a process has ended")
        time.sleep(0.05)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clients", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--serve", type=int, nargs="*", help=argparse.SUPPRESS)
    parser.add_argument("--address", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve:
        serve(given.serve, Path("update.bin"), given.address, Path("states"))
    rows = {}
    for name, hidden in (("tiny", (8,)), ("large", HIDDEN)):
        with tempfile.TemporaryDirectory(prefix="umbel-memory-") as folder:
            rows[name] = measure(given.clients, given.rounds, hidden, Path(folder))
    base, row = rows["tiny"], rows["large"]
    models = {
        "superlink": (row.server - base.server) / row.model,
        "run": (row.run - base.run) / row.model,
    }
    for name, count in (*models.items(), ("both", sum(models.values()))):
        print(f"{name:9} {count:5.2f} models over its base (target below {TARGET:g})")
    print(f"{given.clients} replies of {row.model / 1e6:.0f} MB, {row.lost} lost", end="; ")
    print(f"rounds of {', '.join(map(str, row.seconds))} s")
    if given.json:
        print(json.dumps({"models": models, **{name: asdict(r) for name, r in rows.items()}}))
    return 1 if max(models.values()) >= TARGET or row.lost else 0


if __name__ == "__main__":
    sys.exit(main())
