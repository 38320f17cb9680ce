"""A federation of containers, by the files and commands that a user has."""

from __future__ import annotations

import base64
import fcntl
import hashlib
import json
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCKER = shutil.which("docker") or "docker"
COMPOSE = [OLD] if (OLD := shutil.which("docker-compose")) else [DOCKER, "compose"]
PLAIN = ("docker-compose.yml",)
TLS = ("docker-compose.yml", "docker-compose.tls.yml")
DEADLINE = 300.0


def wait_for(found: Callable[[], object], what: str, seconds: float = DEADLINE):
    """What `found` returns as soon as it is true; fails by name at the deadline."""
    end = time.monotonic() + seconds
    while not (result := found()):
        assert time.monotonic() < end, f"no {what} within {seconds:g} s"
        time.sleep(0.2)
    return result


def call(*command: object, code: int | None = 0, **options) -> str:
    """What a command says, both of its outputs; fails unless it ends with `code`."""
    done = subprocess.run(
        [str(word) for word in command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=options.pop("timeout", DEADLINE),
        check=False,
        **options,
    )
    assert code is None or done.returncode == code, (
        f"{command}: {done.returncode}\n{done.stdout[-4000:]}"
    )
    return done.stdout


def docker(*command: object, **options) -> str:
    return call(DOCKER, *command, **options).strip()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


CONTENTS = {"UMBEL_DATASETS": "mnist efficientnet-lite0", "UMBEL_EXTRAS": "graph"}
"""What is in the image that the tests share beside umbel."""


def build_image(checkout: Path, name: str) -> None:
    """Build the image of a checkout, as docker-compose.yml says, with what its tests need; one at
    a time, for the next then finds all of it in the engine's cache."""
    environment = {**os.environ, "UMBEL_IMAGE": name, **CONTENTS}
    build = [*COMPOSE, "-p", name, "-f", checkout / "docker-compose.yml", "build", "superlink"]
    with (Path(tempfile.gettempdir()) / "umbel-image.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        call(*build, cwd=checkout, env=environment, timeout=1500)


class Federation:
    """One project of Compose: its containers, networks and volumes end with the block."""

    def __init__(self, name: str, image: str, files: Sequence[str] = PLAIN) -> None:
        self.name = name
        self.image = image
        self.page = f"127.0.0.1:{free_port()}"
        self._files = [part for file in files for part in ("-f", str(ROOT / file))]
        self._environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith("UMBEL_")},
            "UMBEL_IMAGE": image,
            "UMBEL_PAGES": self.page,
            # A change in Compose's own defaults is no matter of umbel's.
            "COMPOSE_HTTP_TIMEOUT": "300",
        }

    def compose(self, *command: object, **options) -> str:
        return call(
            *COMPOSE, *self._files, "-p", self.name, *command,
            cwd=ROOT, env=self._environment, **options,
        )  # fmt: skip

    def up(self, *options: object, experiment: str = "") -> None:
        """`docker-compose up -d`; returns when `run` has been started."""
        if experiment:
            self._environment["UMBEL_EXPERIMENT"] = experiment
        try:
            self.compose("up", "-d", *options)
        except AssertionError as failed:
            failed.add_note(self.logs("superlink"))
            raise

    def play(self, experiment: Path) -> None:
        """Have the clients that are there play another experiment over the same shards."""
        run = ["run", "/experiment.toml", "--set", "data.clients=3", "--key", "key/run.pem"]
        way = ["--server", "superlink:8000", "--insecure"]
        options = ["--rm", "--no-deps", "-T", "-v", f"{experiment}:/experiment.toml:ro"]
        self.compose("run", *options, "run", *run, *way)

    def ids(self, service: str) -> list[str]:
        """The containers of a service, running or not."""
        label = f"label=com.docker.compose.project={self.name}"
        kind = f"label=com.docker.compose.service={service}"
        return docker("ps", "-aq", "--no-trunc", "--filter", label, "--filter", kind).split()

    def id(self, service: str) -> str:
        [found] = self.ids(service)
        return found

    def logs(self, service: str) -> str:
        """What the containers of a service have said since they were last started."""
        found = []
        for container in self.ids(service):
            started = docker("inspect", "--format", "{{.State.StartedAt}}", container)
            found.append(docker("logs", "--since", started, container))
        return "\n".join(found)

    def kill(self, *services: str) -> None:
        docker("kill", *(self.id(service) for service in services))

    def ended(self, code: int = 0) -> None:
        """Wait until `run` has ended with an exit status."""
        status = docker("wait", self.id("run"), timeout=600)
        assert status == str(code), self.logs("run")

    def runs(self) -> list[str]:
        """The run folders in the volume, the newest last."""
        made = self.shell("run", "ls -1rtd /umbel/runs/*/experiment.toml 2>/dev/null || true")
        return [Path(line).parent.name for line in made.splitlines()]

    def shell(self, service: str, script: str) -> str:
        """What a script says that sees the volumes of a service's container."""
        options = ["--volumes-from", self.id(service), "--network", "none", "--entrypoint", "sh"]
        return docker("run", "--rm", *options, self.image, "-c", script)

    def read(self, file: str, run: str = "") -> bytes:
        """A file of a run's folder, the newest run's if none is named."""
        name = run or self.runs()[-1]
        path = f"/umbel/runs/{name}/{file}"
        text = self.shell("run", f"test ! -f {path} || base64 {path}")
        return base64.b64decode(text)

    def records(self, run: str = "") -> list[dict]:
        return [json.loads(line) for line in self.read("metrics.jsonl", run).splitlines()]

    def failures(self, run: str = "") -> list[tuple[int, str, str]]:
        """Every update that did not count: round, client, status."""
        return [
            (record["round"], failure["client"], failure["status"])
            for record in self.records(run)
            for failure in record["failures"]
        ]

    def sha256(self, run: str = "") -> str:
        return hashlib.sha256(self.read("model.safetensors", run)).hexdigest()

    def down(self) -> None:
        self.compose("down", "--volumes", "--remove-orphans", "--timeout", "2", code=None)


@contextmanager
def federation(image: str, files: Sequence[str] = PLAIN) -> Iterator[Federation]:
    """A project of its own, removed with the block also where the test has failed."""
    made = Federation(f"umbel-test-{os.getpid()}-{free_port()}", image, files)
    try:
        yield made
    finally:
        made.down()


def simulated(experiment: str, clients: int, folder: Path) -> str:
    """The digest of the model that `umbel simulate` makes of an experiment file here."""
    import umbel

    file = ROOT / experiment
    result = umbel.simulate(umbel.load(file, [f"data.clients={clients}"]), out=folder)
    return result.sha256
