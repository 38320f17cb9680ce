"""What somebody who does not play by the rules can send to a server, byte by byte."""

from __future__ import annotations

import contextlib
import datetime
import socket
import ssl
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path

import httpx
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from umbel.security.keys import public_pem, read_private_key
from umbel.security.signatures import sign
from umbel.transfer import tls_context

PROTOBUF = {"content-type": "application/protobuf"}


def connection(address: str, ca: Path | None = None) -> httpx.Client:
    verify = tls_context(ca.read_bytes() if ca else None)
    scheme = "https" if ca else "http"
    return httpx.Client(base_url=f"{scheme}://{address}", verify=verify, trust_env=False)


def node_headers(key: ec.EllipticCurvePrivateKey, **more: str) -> dict[str, str]:
    """The headers by which Flower's nodes prove who they are."""
    stamp = more.pop("stamp", datetime.datetime.now(datetime.UTC).isoformat())
    signature = key.sign(stamp.encode(), ec.ECDSA(hashes.SHA256()))
    return {
        **PROTOBUF,
        "flwr-public-key": b64encode(public_pem(key.public_key())).decode(),
        "flwr-timestamp": stamp,
        "flwr-signature": b64encode(signature).decode(),
        **more,
    }


def operator_headers(key: Path, path: str, content: bytes = b"") -> dict[str, str]:
    return {**PROTOBUF, **sign(read_private_key(key), "POST", path, content)}


@contextlib.contextmanager
def begun(
    address: str, ca: Path | None, lines: list[str], body: bytes = b""
) -> Iterator[socket.socket]:
    """Send a request as it stands, which may not be all of it; the connection."""
    host, _, port = address.partition(":")
    with contextlib.ExitStack() as stack:
        link = stack.enter_context(socket.create_connection((host, int(port)), timeout=20))
        if ca is not None:
            context = ssl.create_default_context(cafile=str(ca))
            link = stack.enter_context(context.wrap_socket(link, server_hostname=host))
        link.sendall("\r\n".join([*lines, "", ""]).encode("latin-1") + body)
        yield link


def raw(address: str, ca: Path | None, lines: list[str], body: bytes = b"") -> bytes:
    """Send a request as it stands, and read what comes back until the server closes."""
    with begun(address, ca, lines, body) as link:
        answer = b""
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            while piece := link.recv(65536):
                answer += piece
        return answer
