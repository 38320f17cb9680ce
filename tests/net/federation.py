"""A server, two clients and a run, each on a host of its own (`hosts`)."""

from __future__ import annotations

from lab import DEADLINE, wait_for

NAMES = ("client-0", "client-1")
PORT = 8000


class Federation:
    """Host 1 has the server, 2 and 3 a client each, 4 the run."""

    def __init__(self, lab, hosts) -> None:
        self.lab, self.hosts = lab, hosts
        self.address = f"{hosts[1].address}:{PORT}"
        certs = lab.start("certs", "make", "--host", hosts[1].address, "--out", "certs")
        assert certs.wait(DEADLINE) == 0
        server = ("server", "--host", hosts[1].address, "--port", PORT, "--insecure")
        self.server = lab.start(
            *server, "--keys", "certs", log="server.log", within=hosts[1].within
        )
        said = lab.folder / "server.log"
        wait_for(lambda: "serving at" in said.read_text(), "SuperLink")
        self.clients = {name: self.client(name) for name in NAMES}
        for name in NAMES:
            lab.joined(name)

    def client(self, name):
        command = ["client", "--server", self.address, "--insecure", "--name", name]
        command += ["--data", self.lab.folder / "shards" / name]
        command += ["--state", self.lab.folder / "states" / name, "--allow-import", "gated"]
        host = self.hosts[2 + NAMES.index(name)]
        return self.lab.start(*command, log=f"{name}.log", within=host.within)

    def run(self, path):
        command = ["run", path, "--server", self.address, "--insecure", "--out", "run"]
        return self._start(*command, "--key", "certs/operators/run.pem")

    def resume(self):
        return self._start("resume", "run")

    def _start(self, *command):
        return self.lab.start(*command, log="run.log", within=self.hosts[4].within)

    def said(self) -> str:
        return (self.lab.folder / "run.log").read_text()

    def ends(self, run) -> list[dict]:
        assert run.wait(DEADLINE) == 0, self.said()
        records = self.lab.records("run")
        failures = [failure for record in records for failure in record["failures"]]
        assert failures == [], failures
        return records
