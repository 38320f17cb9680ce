"""Flower's SuperLink as a process of its own: started, waited for, and always ended."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import httpx

from ..errors import BadInput, UmbelError
from ..logs import Format
from ..processes import die_with_parent, last_line, stop_all
from .superlink_settings import Settings

START_SECONDS = 240.0
"""A SuperLink takes 3 s to start here, and over a minute on a machine that starts much else; one
that ends is seen at once."""


def free_port() -> int:
    """A port of the loopback address that nothing listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def check_port(host: str, port: int, *, wait: float = 0.0, option: str = "--port") -> None:
    """Raise BadInput if a port cannot be listened on.

    Args:
        host: the address to listen on.
        port: its port.
        wait: seconds to wait for a former owner that is about to end.
        option: the option that named it.
    """
    end = time.monotonic() + wait
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    while True:
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
                return
            except OSError as error:
                if time.monotonic() >= end:
                    raise BadInput(
                        f"{option} {port}: cannot listen on {host}: {error.strerror}; "
                        f"choose another port, or leave {option} out"
                    ) from error
        time.sleep(0.1)


def flower_environment(home: Path) -> dict[str, str]:
    """The environment for Flower's own programs: they report to nobody, fetch nothing, and
    keep their files under `home`."""
    return {
        **os.environ,
        # They start one another by name.
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]),
        "FLWR_HOME": str(home.resolve()),
        "FLWR_TELEMETRY_ENABLED": "0",
        "FLWR_DISABLE_UPDATE_CHECK": "1",
        "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
        "FLWR_SUPEREXEC_TASK_POLL_INTERVAL": "0.05",
        "PYTHONUNBUFFERED": "1",
    }


def flower_program(name: str) -> str:
    """The path of one of Flower's programs, as installed beside this Python."""
    beside = Path(sys.executable).with_name(name)
    if not beside.exists():
        raise UmbelError(f"{beside}: Flower's {name} is missing; reinstall flwr")
    return str(beside)


@dataclass(frozen=True)
class Protection:
    """What a SuperLink is protected by; nothing of it where only this machine can reach it.

    Args:
        keys: the folder of the public keys that it admits.
        tls: the server's certificate, its private key, and the authority's certificate.
    """

    keys: Path | None = None
    tls: tuple[Path, Path, Path] | None = None


class SuperLink:
    """A running SuperLink; leaving the block ends it.

    Args:
        folder: where its home and its log go.
        host: the address to listen on.
        port: the port, or None for a free one.
        options: further options of `flower-superlink`.
        protection: TLS and keys; plain HTTP without.
        log_format: of its log.
        metrics: where it serves figures, as `metrics.place_of` reads it; None is nowhere.
    """

    def __init__(
        self,
        folder: Path,
        *,
        host: str = "127.0.0.1",
        port: int | None = None,
        options: Sequence[str] = (),
        protection: Protection | None = None,
        log_format: Format = "text",
        metrics: str | None = None,
    ) -> None:
        self.port = free_port() if port is None else port
        self.address = f"[{host}]:{self.port}" if ":" in host else f"{host}:{self.port}"
        self.log = folder / "superlink.log"
        protection = protection or Protection()
        self._scheme = "http" if protection.tls is None else "https"
        settings = Settings(
            host=host,
            port=self.port,
            log=str(self.log.resolve()),
            keys=str(protection.keys.resolve()) if protection.keys else None,
            tls=tuple(str(path.resolve()) for path in protection.tls) if protection.tls else None,
            flower=tuple(options),
            log_format=log_format,
            metrics=metrics,
        )
        command = [sys.executable, "-m", "umbel.server.superlink_process", settings.to_json()]
        folder.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self.process = spawn(command, log, flower_environment(folder / "flower"))

    def __enter__(self) -> SuperLink:
        return self

    def __exit__(self, *_: object) -> None:
        stop_all([self.process])

    def wait(self) -> None:
        """Wait until it answers; raises UmbelError if it ends or takes over four minutes."""
        end = time.monotonic() + START_SECONDS
        # It is our own child that is asked, and only whether it is there.
        with httpx.Client(verify=False, trust_env=False, timeout=5.0) as client:  # noqa: S501
            while not self._answers(client):
                self.check()
                if time.monotonic() > end:
                    raise UmbelError(
                        f"the SuperLink was not ready in {START_SECONDS:g} s: {self.log}"
                    )
                time.sleep(0.03)

    def _answers(self, client: httpx.Client) -> bool:
        try:
            return client.get(f"{self._scheme}://{self.address}/health").is_success
        except httpx.TransportError:
            return False

    def check(self) -> None:
        """Raise UmbelError if it has ended."""
        code = self.process.poll()
        if code is not None:
            raise UmbelError(
                f"the SuperLink ended (exit code {code}): {last_line(self.log)} ({self.log})"
            )


def spawn(
    command: Sequence[str],
    log: IO[bytes],
    environment: Mapping[str, str],
    *,
    piped: bool = False,
) -> subprocess.Popen[bytes]:
    """Start a program that ends when this process does, however this process ends.

    Args:
        command: the program and its arguments.
        log: takes what it says.
        environment: all its environment variables.
        piped: talk with it through its standard input and output; the log takes its errors.
    """
    return subprocess.Popen(
        command,
        stdin=subprocess.PIPE if piped else subprocess.DEVNULL,
        stdout=subprocess.PIPE if piped else log,
        stderr=log if piped else subprocess.STDOUT,
        env=dict(environment),
        preexec_fn=die_with_parent(),
        start_new_session=True,
    )
