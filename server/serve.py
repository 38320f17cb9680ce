"""`umbel server`: a SuperLink that serves until it is interrupted."""

from __future__ import annotations

import sys
from pathlib import Path

from ..errors import BadInput
from ..transfer import is_loopback
from .superlink import SuperLink, check_port


def serve(host: str, port: int, *, insecure: bool = False, folder: Path | None = None) -> None:
    """Start a SuperLink and stay until interrupted.

    Args:
        host: the address to listen on.
        port: the port to listen on.
        insecure: listen beyond loopback although without TLS.
        folder: where its log goes; `.umbel/server` if None.

    Raises BadInput where the port is in use, or where others could read the traffic.
    """
    if not is_loopback(f"{host}:{port}") and not insecure:
        raise BadInput(
            f"--host {host}: beyond this machine without TLS, everybody on the way could read "
            "and change the traffic; give --insecure to do so all the same"
        )
    check_port(host, port)
    with SuperLink(folder or Path(".umbel") / "server", host=host, port=port) as superlink:
        superlink.wait()
        print(f"umbel: serving at {superlink.address}; log: {superlink.log}", file=sys.stderr)
        superlink.process.wait()
        superlink.check()
