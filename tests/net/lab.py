"""umbel's programs as real processes: all are ended with their test, every wait has a deadline."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from umbel.data import make_shards, write_shards
from umbel.experiment import Experiment, load
from umbel.processes import stop_all
from umbel.server.superlink import flower_environment, flower_program, free_port, spawn

HERE = Path(__file__).parent
DEADLINE = 180.0


def wait_for(found: Callable[[], object], what: str, seconds: float = DEADLINE):
    """What `found` returns as soon as it is true; fails by name at the deadline."""
    end = time.monotonic() + seconds
    while not (result := found()):
        assert time.monotonic() < end, f"no {what} within {seconds:g} s"
        time.sleep(0.05)
    return result


def alive(pid: int) -> bool:
    """Whether a process runs (one that has ended and was not waited for does not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: not alive(pid), f"end of process {pid}")


class Lab:
    """Starts umbel's programs in one test's folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.processes: list[subprocess.Popen] = []
        paths = [str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])]
        self.environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}

    def experiment(self, **sections) -> Path:
        """An experiment file: two clients, two rounds, a small model; `sections` replace."""
        sections.setdefault("data", {"clients": 2})
        sections.setdefault("model", {"name": "mlp", "hidden": [8]})
        sections.setdefault("evaluation", {"every": 2})
        head = {"name": "net", "rounds": 2, "seed": 5} | sections.pop("experiment", {})
        path = self.folder / "experiment.toml"
        path.write_text(Experiment(experiment=head, **sections).to_toml())
        return path

    def start(self, *command, log: str = "", within: Sequence[str] = ()) -> subprocess.Popen:
        """Start `umbel ARGUMENTS`, or a Python program of this folder, `within` a host."""
        script = str(command[0]).endswith(".py")
        program = [str(HERE / command[0])] if script else ["-m", "umbel"]
        program = [*within, sys.executable, *program]
        command = command[1:] if script else command
        if log:
            with (self.folder / log).open("ab") as file:
                out, error = file, subprocess.STDOUT
                process = self._open(program, command, out, error)
        else:
            process = self._open(program, command, subprocess.PIPE, subprocess.PIPE)
        self.processes.append(process)
        return process

    def _open(self, program, command, out, error) -> subprocess.Popen:
        return subprocess.Popen(
            [*program, *map(str, command)],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=error,
            env=self.environment,
            cwd=self.folder,
            start_new_session=True,
        )

    def umbel(self, *arguments, code: int = 0) -> tuple[dict, str]:
        """Run `umbel ARGUMENTS --json` to its end: what it prints as JSON, and what it says."""
        process = self.start(*arguments, "--json")
        out, said = process.communicate(timeout=DEADLINE)
        assert process.returncode == code, said.decode()
        return json.loads(out) if out.strip() else {}, said.decode()

    def sha256(self, run: Path) -> str:
        return hashlib.sha256((self.folder / run / "model.safetensors").read_bytes()).hexdigest()

    def records(self, run: Path | str) -> list[dict]:
        path = self.folder / run / "metrics.jsonl"
        lines = path.read_text().splitlines() if path.exists() else []
        return [json.loads(line) for line in lines]

    def server(self, port: int | None = None, *options) -> tuple[str, subprocess.Popen]:
        """`umbel server`, ready; its address and process."""
        address = f"127.0.0.1:{port or free_port()}"
        command = ["server", "--port", address.rpartition(":")[2], *options]
        said = self.folder / "server.log"
        before = said.read_text().count("serving at") if said.exists() else 0
        process = self.start(*command, log="server.log")
        wait_for(lambda: said.read_text().count("serving at") > before, "SuperLink")
        return address, process

    def shards(self, path: Path) -> None:
        """Write the shards of an experiment file."""
        write_shards(make_shards(load(path)), self.folder / "shards")

    def client(self, address: str, name: str, *options) -> subprocess.Popen:
        """`umbel client` for one shard."""
        command = ["client", "--server", address, "--data", self.folder / "shards" / name]
        command += ["--name", name, "--state", self.folder / "states" / name]
        return self.start(*command, *options, log=f"{name}.log")

    def federation(self, path: Path, clients: int) -> str:
        """A SuperLink with so many warm clients of an experiment that stay; its address."""
        self.shards(path)
        address, _ = self.server()
        for index in range(clients):
            self.client(address, f"client-{index}")
        return address

    def stock_client(self, address: str, name: str) -> subprocess.Popen:
        """Flower's own `flower-supernode` for one shard."""
        shard, state = self.folder / "shards" / name, self.folder / "states" / name
        state.mkdir(parents=True)
        config = f"data='{shard}' name='{name}' state='{state}'"
        command = [flower_program("flower-supernode"), "--insecure", "--superlink", address]
        command += ["--port", str(free_port()), "--node-config", config]
        with (self.folder / f"{name}.log").open("ab") as log:
            process = spawn(command, log, flower_environment(state))
        self.processes.append(process)
        return process

    def joined(self, name: str, times: int = 1) -> int:
        """Wait until a client has joined so many times; its node id."""
        path = self.folder / f"{name}.log"

        def lines():
            said = path.read_text().splitlines() if path.exists() else []
            found = [line for line in said if " joined " in line]
            return found if len(found) >= times else []

        line = wait_for(lines, f"{name} in {path}")[-1]
        return int(line.split(" as node ")[1].split(",")[0])

    def close(self) -> None:
        stop_all(self.processes)
