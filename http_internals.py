"""Flower's HTTP clients, as umbel makes and uses them (`flower_internals` says the rest)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import httpx
from cryptography.hazmat.primitives.asymmetric import ec
from flwr.app.message import array
from flwr.supercore.control.control_http_client import ControlHttpClient
from flwr.supercore.interceptors import (
    RuntimeTokenHttpInterceptor,
    RuntimeVersionHttpInterceptor,
)
from flwr.supercore.interceptors.http.superexec_auth import SuperExecAuthHttpInterceptor
from flwr.supercore.protobuf.client import ProtobufClient, ProtobufClientInterceptor
from flwr.supercore.runtime import RuntimeHttpClient
from flwr.supernode.fleet_http_client import FleetHttpClient
from flwr.supernode.node_auth_http_interceptor import NodeAuthHttpInterceptor
from google.protobuf import json_format  # type: ignore[import-untyped]
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from google.protobuf.struct_pb2 import Struct  # type: ignore[import-untyped]

from .answers import read_at_once, restrict_answers
from .lines import ALIVE, CONNECT_SECONDS, SLOW_SECONDS
from .security.interceptors import UmbelHeaders, operator_interceptors

TRANSFERS = "/v1/runtime/umbel-transfers"
"""Where a run asks umbel's own SuperLink what is moving: let through as Flower's own beside it."""

FLEET_NEWS = "/v1/fleet/umbel-news"
RUNTIME_NEWS = "/v1/runtime/umbel-news"
"""Where a node, and a run, wait until something is sent to them (`server.news`)."""

__all__ = ["ControlHttpClient", "FleetHttpClient", "RuntimeHttpClient"]

ACQUIRE_TASK = "/flwr.proto.Runtime/AcquireTask"
"""The method that a SuperLink's SuperExec secret protects."""


def fleet_client(
    address: str,
    key: ec.EllipticCurvePrivateKey,
    *,
    root_certificates: bytes | None,
    headers: Mapping[str, str] | None = None,
) -> FleetHttpClient:
    """A client of a SuperLink's Fleet API; plain HTTP without root certificates.

    Args:
        address: the SuperLink's host and port.
        key: the node's.
        root_certificates: who may have signed its certificate, as PEM.
        headers: what every request says beside.
    """
    client = FleetHttpClient.from_server_address(
        address,
        root_certificates is None,
        root_certificates,
        interceptors=[
            RuntimeVersionHttpInterceptor(component_name="SuperNode"),
            NodeAuthHttpInterceptor(key, key.public_key()),
            UmbelHeaders(headers),
        ],
    )
    make_patient(client)
    return client


def control_client(
    address: str,
    *,
    root_certificates: bytes | None,
    key: ec.EllipticCurvePrivateKey | None = None,
) -> ControlHttpClient:
    """A client of a SuperLink's Control API; `key` is an operator's."""
    return ControlHttpClient.from_server_address(
        address,
        root_certificates is None,
        root_certificates,
        interceptors=operator_interceptors(key),
    )


def runtime_client(
    address: str,
    *,
    root_certificates: bytes | None,
    token: str | None = None,
    secret: bytes | None = None,
    key: ec.EllipticCurvePrivateKey | None = None,
) -> RuntimeHttpClient:
    """A client of a SuperLink's Runtime API.

    Args:
        address: the SuperLink's host and port.
        root_certificates: who may have signed its certificate, as PEM; None is plain HTTP.
        token: the task's, to speak as a ServerApp.
        secret: the SuperLink's SuperExec secret, to take a task over from one that has it.
        key: an operator's.
    """
    interceptors: list[ProtobufClientInterceptor] = [
        RuntimeVersionHttpInterceptor(component_name="flwr-serverapp")
    ]
    if token is not None:
        interceptors.append(RuntimeTokenHttpInterceptor(token))
    if secret is not None:
        interceptors.append(
            SuperExecAuthHttpInterceptor(master_secret=secret, protected_methods=[ACQUIRE_TASK])
        )
    client = RuntimeHttpClient.from_server_address(
        address,
        root_certificates is None,
        root_certificates,
        interceptors=[*interceptors, *operator_interceptors(key)],
    )
    make_patient(client)
    return client


def is_healthy(client: ControlHttpClient, address: str, *, secure: bool) -> bool:
    """Whether a SuperLink answers at an address; raises httpx.HTTPError where nothing does."""
    scheme = "https" if secure else "http"
    # The client behind Flower's trusts the certificates that it was given and no others.
    return bool(client._client.get(f"{scheme}://{address}/health").is_success)


def read_transfers(client: RuntimeHttpClient) -> dict[int, list[float]]:
    """What umbel's own SuperLink has counted by node, the numbers of a `Transfer` in their order;
    raises httpx.HTTPError, as where it is Flower's."""
    answer = client._unary_unary(
        path=TRANSFERS,
        rpc_method="/umbel.Runtime/Transfers",
        request=Struct(),
        response_type=Struct,
    )
    found = json_format.MessageToDict(answer)
    return {int(node): [float(count) for count in counts] for node, counts in found.items()}


def write_transfers(counted: Mapping[int, Sequence[float]]) -> bytes:
    """The answer that `read_transfers` reads."""
    answer = Struct()
    answer.update({str(node): list(counts) for node, counts in counted.items()})
    return bytes(answer.SerializeToString())


def await_news(
    client: FleetHttpClient | RuntimeHttpClient, mark: str, seconds: float
) -> str | None:
    """Wait until something has been sent to this side since it was given `mark`, at most so many
    seconds; the mark to give the next time, None where the SuperLink is Flower's and has none."""
    path = FLEET_NEWS if isinstance(client, FleetHttpClient) else RUNTIME_NEWS
    request = Struct()
    request.update({"mark": mark, "seconds": seconds})
    try:
        answer = client._unary_unary(
            path=path, rpc_method="/umbel/News", request=request, response_type=Struct
        )
    except httpx.HTTPStatusError as error:
        if error.response.status_code == httpx.codes.NOT_FOUND:
            return None
        raise
    return _waiting(answer)[0]


def read_news(content: bytes) -> tuple[str, float]:
    """The mark and the seconds in the request of `await_news`; none where it cannot be read.

    >>> read_news(write_news("a.1")), read_news(b"nonsense")
    (('a.1', 0.0), ('', 0.0))
    """
    request = Struct()
    try:
        request.ParseFromString(content)
    except DecodeError:
        return "", 0.0
    return _waiting(request)


def write_news(mark: str) -> bytes:
    """The answer that `await_news` reads."""
    answer = Struct()
    answer.update({"mark": mark})
    return bytes(answer.SerializeToString())


def _waiting(told: Struct) -> tuple[str, float]:
    return str(told.fields["mark"].string_value), float(told.fields["seconds"].number_value)


def set_timeout(client: ProtobufClient, seconds: float) -> None:
    """Have all further requests of a client end within some seconds, answered or not."""
    client._client.timeout = seconds


def make_patient(client: ProtobufClient) -> None:
    """Have a client's requests outlast a slow line, and end on a dead one all the same; and its
    answers be let go of as soon as they have been read."""
    client._client.event_hooks = {"response": [read_at_once]}
    client._client.timeout = httpx.Timeout(SLOW_SECONDS, connect=CONNECT_SECONDS)
    transport = client._client._transport
    if isinstance(transport, httpx.HTTPTransport):
        transport._pool._socket_options = ALIVE


def set_piece_bytes(count: int) -> None:
    """Have this process cut large arrays into pieces of so many bytes before it sends them."""
    vars(array)["FLWR_PRIVATE_MAX_ARRAY_CHUNK_SIZE"] = count


def restrict(client: ProtobufClient, limit: int) -> None:
    """Have a client read no answer that `answers.restrict_answers` refuses."""
    restrict_answers(client._client, limit)


def refusal(error: httpx.HTTPStatusError) -> str:
    """What Flower says of a request that it refused."""
    try:
        said = error.response.json()["detail"]
    except (ValueError, KeyError, TypeError):
        said = ""
    return str(said) or f"HTTP status {error.response.status_code}"
