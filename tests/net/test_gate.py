"""A server with certificates and keys, and those whom it refuses: it logs each, and goes on."""

from __future__ import annotations

import io
import os
import zipfile
from contextlib import ExitStack
from pathlib import Path

import pytest
from flwr.proto.fleet_pb2 import ActivateNodeResponse
from lab import Lab, wait_for
from strangers import PROTOBUF, begun, connection, node_headers, operator_headers, raw

from umbel.flower_internals import (
    ActivateNodeRequest,
    Fab,
    Node,
    PullMessagesRequest,
    PushMessagesRequest,
    StartRunRequest,
    build_bundle,
)
from umbel.processes import stop_all
from umbel.security.folder import make_certs
from umbel.security.keys import new_key, private_pem, public_pem, read_private_key
from umbel.server.gate import AT_ONCE, BODY_BYTES
from umbel.server.roster import REPLY_BYTES
from umbel.server.submit import PYPROJECT
from umbel.server.superlink import flower_environment, flower_program, free_port, spawn
from umbel.wire import pack_about

PULL = "/v1/fleet/pull-messages"
ACTIVATE = "/v1/fleet/activate-node"
LIST = "/v1/control/list-runs"
START = "/v1/control/start-run"
MIB = 2**20


class Federation(Lab):
    """A server with TLS, the keys of some clients and of one operator; none of them runs yet."""

    def __init__(self, folder):
        super().__init__(folder)
        names = ["client-0", "client-1", "mallory", "victim", "stolen", "gone", "stock", "liar"]
        names.append("late-teller")
        self.certs = make_certs(folder / "certs", ["127.0.0.1"], clients=names)
        self.ca = self.certs / "ca.pem"
        self.operator = self.certs / "operators" / "run.pem"
        self.port = free_port()
        self.address = f"127.0.0.1:{self.port}"
        self.process = self.start("server", "--port", self.port, "--tls", "certs", log="server.log")
        said = folder / "server.log"
        wait_for(lambda: f"serving at {self.address}" in said.read_text(), "server")
        self.http = connection(self.address, self.ca)

    @property
    def log(self) -> str:
        return (self.folder / ".umbel" / "server" / "superlink.log").read_text()

    def key_file(self, name):
        return self.certs / "clients" / f"{name}.pem"

    def key(self, name):
        return read_private_key(self.key_file(name))

    def access(self, key):
        return ["--server", self.address, "--ca", self.ca, "--key", key]

    def join(self, name, key=None, state="", **options):
        """`umbel client` by TLS; its log is NAME and STATE."""
        key = key or self.key_file(name)
        command = ["client", "--server", self.address, "--ca", self.ca, "--key", key]
        command += ["--data", self.folder / "shards" / name, "--name", name]
        command += ["--state", self.folder / "states" / f"{name}{state}"]
        return self.start(*command, log=f"{name}{state}.log")

    def stock(self, name):
        """Flower's own `flower-supernode`, by TLS and with its key."""
        shard, state = self.folder / "shards" / name, self.folder / "states" / f"{name}-stock"
        state.mkdir(parents=True)
        command = [flower_program("flower-supernode"), "--superlink", self.address]
        command += ["--root-certificates", str(self.ca), "--port", str(free_port())]
        command += ["--auth-supernode-private-key", str(self.key_file(name))]
        command += ["--node-config", f"data='{shard}' name='{name}' state='{state}'"]
        with (self.folder / f"{name}-stock.log").open("ab") as log:
            process = spawn(command, log, flower_environment(state))
        self.processes.append(process)
        return process

    def said(self, name):
        return (self.folder / f"{name}.log").read_text()

    def activate(self, name, **headers):
        """Join by hand; the node id."""
        key = self.key(name)
        body = ActivateNodeRequest(public_key=public_pem(key.public_key()), heartbeat_interval=30)
        answer = self.http.post(
            ACTIVATE, content=body.SerializeToString(), headers=node_headers(key, **headers)
        )
        assert answer.status_code == 200, answer.text
        return ActivateNodeResponse.FromString(answer.content).node_id

    def goes_on(self):
        """The service answers whom it should."""
        assert self.process.poll() is None
        assert self.http.get("/health").status_code == 200
        answer = self.http.post(LIST, headers=operator_headers(self.operator, LIST))
        assert answer.status_code == 200, answer.text


@pytest.fixture(scope="module")
def federation(tmp_path_factory):
    made = Federation(tmp_path_factory.mktemp("federation"))
    made.shards(made.experiment())
    yield made
    made.close()


@pytest.fixture(autouse=True)
def _goes_on(federation):
    """Whatever a test has done, the service goes on."""
    yield
    federation.goes_on()


def refused(answer, status, code):
    assert (answer.status_code, answer.headers["umbel-refusal"]) == (status, code), answer.text
    assert answer.json()["detail"]


def pull(federation, name, node=0, **headers):
    body = PullMessagesRequest(node=Node(node_id=node)).SerializeToString()
    return federation.http.post(
        PULL, content=body, headers=node_headers(federation.key(name), **headers)
    )


# Who plays by the rules.


def test_warm_and_stock_nodes_over_tls_make_the_same_bits_as_simulation(federation):
    path = federation.experiment()
    simulated = federation.umbel("simulate", path, "--out", "simulated")[0]["model_sha256"]
    clients = [federation.join("client-0"), federation.stock("client-1")]
    federation.joined("client-0")
    access = federation.access(federation.operator)
    wait_for(lambda: online(federation) == {"client-0", "client-1"}, "both clients")
    rows, _ = federation.umbel("nodes", *access)
    row = rows[0]
    assert row["name"] == "client-0" and "(8, 8)" in row["schema"]
    assert row["version"].startswith("umbel ") and row["last_seen"] and row["since"]
    result, _ = federation.umbel("run", path, *access, "--out", "run")
    assert result["model_sha256"] == simulated
    stop_all(clients)


def online(federation):
    rows, _ = federation.umbel("nodes", *federation.access(federation.operator))
    return {row["name"] for row in rows if row["status"] == "online"}


def test_client_that_calls_itself_by_anothers_name(federation):
    (federation.folder / "shards" / "liar").symlink_to(federation.folder / "shards" / "client-0")
    command = ["client", "--server", federation.address, "--ca", federation.ca]
    command += ["--key", federation.key_file("liar"), "--data", federation.folder / "shards/liar"]
    command += ["--name", "client-0", "--state", federation.folder / "states" / "liar"]
    process = federation.start(*command, log="liar.log")
    federation.joined("liar")
    access = [*federation.access(federation.operator), "--clients", "1"]
    few = ["--set", "server.wait=3", "--set", "server.min_updates=1"]
    _, said = federation.umbel("run", "experiment.toml", *access, *few, "--out", "lied", code=1)
    assert "calls itself client-0 but has the key of liar; give it --name liar" in said
    stop_all([process])


# Who may connect at all.


def test_plain_http_on_the_tls_port(federation):
    assert b"200 OK" not in raw(federation.address, None, ["GET /health HTTP/1.1", "Host: x"])
    wait_for(lambda: "TLS: HTTP_REQUEST" in federation.log, "line in the log")
    _, said = federation.umbel("run", "experiment.toml", "--server", federation.address, code=2)
    assert "speaks TLS; give --ca" in said and len(said.splitlines()) == 1


def test_no_key_and_no_certificate(federation):
    """A key of one's own, which nobody admitted, is what a client makes where it is given none."""
    command = ["client", "--server", federation.address, "--ca", federation.ca]
    command += ["--data", federation.folder / "shards" / "client-0", "--state", "states/none"]
    process = federation.start(*command, log="none.log")
    assert process.wait(120) == 2
    assert "this key is not known here" in federation.said("none").splitlines()[-1]
    wait_for(lambda: "key-unknown" in federation.log, "line in the log")
    command = ["run", "experiment.toml", "--server", federation.address, "--ca", federation.ca]
    _, said = federation.umbel(*command, "--out", "none", code=2)
    assert "this needs an operator's key; give --ca and --key" in said
    assert not (federation.folder / "none").exists()


def test_server_without_a_certificate(federation, tmp_path):
    lab = Lab(tmp_path)
    try:
        address, _ = lab.server()
        command = ["client", "--server", address, "--ca", federation.ca]
        command += ["--data", federation.folder / "shards" / "client-0"]
        process = lab.start(*command)
        said = process.communicate(timeout=120)[1].decode()
    finally:
        lab.close()
    assert process.returncode == 2
    assert "the server speaks plain HTTP and no TLS" in said and len(said.splitlines()) == 1


def test_client_that_trusts_another_authority(federation):
    other = make_certs(federation.folder / "foreign", ["127.0.0.1"])
    command = ["run", "experiment.toml", "--server", federation.address]
    command += ["--ca", other / "ca.pem", "--key", federation.operator]
    _, said = federation.umbel(*command, code=2)
    assert "signed by somebody else than --ca says" in said and len(said.splitlines()) == 1
    wait_for(lambda: "UNKNOWN_CA" in federation.log, "line in the log")


@pytest.mark.parametrize(
    ("hosts", "days", "fault"),
    [(["fl.example.org"], 1, "is not for this address"), (["127.0.0.1"], 0, "has expired")],
    ids=["wrong host name", "expired"],
)
def test_server_whose_certificate_will_not_do(federation, tmp_path, hosts, days, fault):
    certs = make_certs(tmp_path / "certs", hosts, clients=["client-0"], days=days)
    lab = Lab(tmp_path)
    port = free_port()
    lab.start("server", "--port", port, "--tls", certs, log="server.log")
    try:
        wait_for(lambda: "serving at" in (tmp_path / "server.log").read_text(), "server")
        command = ["client", "--server", f"127.0.0.1:{port}", "--ca", certs / "ca.pem"]
        command += ["--key", certs / "clients" / "client-0.pem"]
        command += ["--data", federation.folder / "shards" / "client-0"]
        process = lab.start(*command)
        said = process.communicate(timeout=120)[1].decode()
    finally:
        lab.close()
    assert process.returncode == 2
    assert fault in said and len(said.splitlines()) == 1


# Whose key it is.


def test_stranger_on_each_api(federation):
    for path in ("/docs", "/openapi.json", "/", "/v1/control/../fleet", "/v1/runtime/responses"):
        refused(federation.http.get(path), 404, "no-such-place")
        refused(federation.http.post(path, headers=PROTOBUF), 404, "no-such-place")
    for path in (LIST, START, "/v1/control/register-node", "/v1/umbel/nodes"):
        refused(federation.http.post(path, headers=PROTOBUF), 401, "no-key")
    for path in ("/v1/runtime/acquire-task", "/v1/runtime/get-nodes", "/v1/runtime/push-object"):
        refused(federation.http.post(path, headers=PROTOBUF), 401, "no-key")
    for path in (PULL, ACTIVATE, "/v1/fleet/register-node", "/v1/fleet/get-fab"):
        refused(federation.http.post(path, headers=PROTOBUF), 401, "no-key")
    assert "refused POST /v1/runtime/acquire-task from 127.0.0.1" in federation.log


def test_paths_that_only_look_like_others(federation):
    for path in (
        "//v1/control/start-run",
        "/v1/control/start-run/",
        "/V1/control/start-run",
        "/v1/fleet/../control/start-run",
        "/v1/fleet/%2e%2e/control/start-run",
    ):
        lines = [f"POST {path} HTTP/1.1", "Host: x", "Content-Length: 0"]
        answer = raw(federation.address, federation.ca, lines)
        assert answer.startswith((b"HTTP/1.1 404", b"HTTP/1.1 401")), answer[:200]


def test_unknown_key(federation):
    key = new_key()
    answer = federation.http.post(PULL, headers=node_headers(key))
    refused(answer, 403, "key-unknown")
    stranger = federation.folder / "stranger.pem"
    stranger.write_bytes(private_pem(key))
    process = federation.join("client-1", key=stranger, state="-stranger")
    assert process.wait(120) == 2
    assert "this key is not known here" in federation.said("client-1-stranger")


def test_key_of_another_sort_than_is_asked_for(federation):
    path = federation.key_file("mallory")
    answer = federation.http.post(LIST, headers=operator_headers(path, LIST))
    refused(answer, 403, "key-unfit")
    headers = node_headers(read_private_key(federation.operator))
    refused(federation.http.post(PULL, headers=headers), 403, "key-unfit")


def test_name_of_a_key_without_the_key(federation):
    headers = node_headers(federation.key("mallory"))
    headers["flwr-signature"] = node_headers(new_key())["flwr-signature"]
    refused(federation.http.post(PULL, headers=headers), 401, "bad-signature")


def test_signature_from_long_ago(federation):
    old = "2020-01-01T00:00:00.000000+00:00"
    refused(pull(federation, "mallory", stamp=old), 401, "clock")


def test_revoked_key_is_cut_off_also_when_connected(federation):
    (federation.folder / "shards" / "gone").symlink_to(federation.folder / "shards" / "client-1")
    process = federation.join("gone")
    federation.joined("gone")
    revoke = federation.start("keys", "revoke", "gone", "--certs", "certs")
    assert revoke.wait(120) == 0
    assert process.wait(60) == 2
    assert "this key was revoked" in federation.said("gone").splitlines()[-1]
    assert "key-revoked" in federation.log
    refused(
        federation.http.post(
            PULL, headers=node_headers(read_private_key(federation.key_file("gone")))
        ),
        403,
        "key-revoked",
    )
    rows, _ = federation.umbel("nodes", *federation.access(federation.operator))
    assert {row["name"]: row["status"] for row in rows}["gone"] == "offline"


def test_key_that_is_added_while_the_server_runs(federation):
    assert federation.start("keys", "add", "late", "--certs", "certs").wait(120) == 0
    wait_for(lambda: federation.activate("late"), "late")


def test_second_node_with_the_same_key(federation):
    first = federation.join("client-1")
    federation.joined("client-1")
    # A thief who has the key, and knows the protocol, but not the first's state folder.
    refused(pull(federation, "client-1", **{"umbel-node": "elsewhere.1"}), 409, "key-in-use")
    refused(pull(federation, "client-1"), 409, "key-in-use")
    assert "another node at 127.0.0.1" in federation.log
    stop_all([first])


def test_copied_state_folder_takes_over_once_and_the_former_ends(federation):
    node = federation.activate("stolen", **{"umbel-node": "here.1"})
    assert pull(federation, "stolen", node, **{"umbel-node": "here.1"}).status_code == 200
    assert pull(federation, "stolen", node, **{"umbel-node": "here.2"}).status_code == 200
    refused(pull(federation, "stolen", node, **{"umbel-node": "here.1"}), 409, "key-in-use")


def test_second_stock_node_with_the_same_key(federation):
    federation.activate("stock")
    key = federation.key("stock")
    body = ActivateNodeRequest(public_key=public_pem(key.public_key()), heartbeat_interval=30)
    answer = federation.http.post(
        ACTIVATE, content=body.SerializeToString(), headers=node_headers(key)
    )
    assert answer.status_code == 412


# What it sends.


def test_replayed_request(federation):
    body = PullMessagesRequest(node=Node(node_id=0)).SerializeToString()
    headers = node_headers(federation.key("mallory"))
    first = federation.http.post(PULL, content=body, headers=headers)
    assert first.headers.get("umbel-refusal") is None
    refused(federation.http.post(PULL, content=body, headers=headers), 409, "replayed")
    headers = operator_headers(federation.operator, LIST)
    assert federation.http.post(LIST, headers=headers).status_code == 200
    refused(federation.http.post(LIST, headers=headers), 409, "replayed")


def test_operator_signature_is_for_one_request_only(federation):
    headers = operator_headers(federation.operator, LIST)
    refused(federation.http.post("/v1/control/list-nodes", headers=headers), 401, "bad-signature")
    headers = operator_headers(federation.operator, LIST)
    answer = federation.http.post(LIST, headers=headers, content=b"\x08\x01")
    refused(answer, 401, "bad-signature")


def test_another_nodes_id(federation):
    mine = federation.activate("mallory")
    other = federation.activate("victim")
    assert pull(federation, "mallory", other).status_code == 401
    request = PushMessagesRequest(node=Node(node_id=mine))
    message = request.messages_list.add()
    message.metadata.src_node_id = other
    message.metadata.reply_to_message_id = "a" * 64
    request.message_object_trees.add().object_id = "b" * 64
    answer = federation.http.post(
        "/v1/fleet/push-messages",
        content=request.SerializeToString(),
        headers=node_headers(federation.key("mallory")),
    )
    refused(answer, 403, "not-yours")


def test_ten_gigabytes_are_refused_before_they_are_read(federation):
    headers = node_headers(federation.key("mallory"))
    lines = ["POST /v1/fleet/push-object HTTP/1.1", "Host: x", f"Content-Length: {10 * 2**30}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    answer = raw(federation.address, federation.ca, lines, b"x" * MIB)
    assert answer.startswith(b"HTTP/1.1 413") and b"too-large" in answer


def test_body_that_does_not_say_how_long_it_is_ends_at_the_limit(federation):
    before = memory(federation.process.pid)
    lines = ["POST /v1/fleet/push-messages HTTP/1.1", "Host: x", "Transfer-Encoding: chunked"]
    headers = node_headers(federation.key("mallory"))
    lines += [f"{name}: {value}" for name, value in headers.items()]
    body = (b"100000\r\n" + b"x" * MIB + b"\r\n") * 17
    answer = raw(federation.address, federation.ca, lines, body)
    assert answer.startswith(b"HTTP/1.1 413") and b"too-large" in answer
    assert memory(federation.process.pid) < before + 100 * MIB


def memory(pid: int) -> int:
    """The resident memory of a process and all that it started, in bytes."""
    proc = Path(f"/proc/{pid}")
    children = (proc / "task" / str(pid) / "children").read_text().split()
    pages = int((proc / "statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGESIZE") + sum(memory(int(child)) for child in children)


PUSH_OBJECT = "/v1/fleet/push-object"


def test_more_than_four_gigabytes_for_one_reply(federation):
    """A body in chunks counts for as much as a request may hold; so many are soon sent."""

    def push(name, chunked=True):
        content = iter([b"\x10\x01"]) if chunked else b"\x10\x01"
        headers = node_headers(federation.key(name))
        return federation.http.post(PUSH_OBJECT, content=content, headers=headers)

    before = memory(federation.process.pid)
    allowed = REPLY_BYTES // BODY_BYTES
    for _ in range(allowed):
        assert push("mallory").headers.get("umbel-refusal") is None
    refused(push("mallory"), 413, "too-large")
    refused(push("mallory", chunked=False), 413, "too-large")
    assert push("victim").headers.get("umbel-refusal") is None, "each has a limit of its own"
    assert f"more than {REPLY_BYTES} bytes for one reply" in federation.log
    assert memory(federation.process.pid) < before + 100 * MIB


def test_more_requests_of_one_key_at_once_than_it_may_have(federation):
    """All wait for their body, as from a client that opens connections and goes silent."""

    def half(name):
        headers = node_headers(federation.key(name)) | {"Host": "x", "Content-Length": "9"}
        return [f"POST {PULL} HTTP/1.1", *(f"{key}: {value}" for key, value in headers.items())]

    with ExitStack() as held:

        def one_more():
            held.enter_context(begun(federation.address, federation.ca, half("mallory"), b"x"))

        for _ in range(AT_ONCE - 1):
            one_more()
        answer = pull(federation, "mallory")
        assert not is_busy(answer)
        for _ in range(AT_ONCE):
            # One that is to wait is turned away where it comes while this one is answered.
            if not is_busy(answer):
                one_more()
                answer = pull(federation, "mallory")
        refused(answer, 503, "busy")
        assert pull(federation, "victim").headers.get("umbel-refusal") is None
        federation.goes_on()
    # Those that went count no more.
    wait_for(lambda: not is_busy(pull(federation, "mallory")), "answer as before")
    assert f"{AT_ONCE} requests of this key" in federation.log


def is_busy(answer):
    return answer.status_code == 503


def test_decompression_bombs(federation):
    headers = {**node_headers(federation.key("mallory")), "content-encoding": "gzip"}
    refused(federation.http.post(PULL, headers=headers), 415, "encoding")
    bomb = io.BytesIO()
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as bundle:
        bundle.writestr("pyproject.toml", b"#" * (300 * MIB))
    refused(start(federation, bomb.getvalue()), 413, "bundle")


def start(federation, bundle):
    content = StartRunRequest(fab=Fab(content=bundle)).SerializeToString()
    headers = operator_headers(federation.operator, START, content)
    return federation.http.post(START, content=content, headers=headers)


def test_unsigned_app_bundle(federation):
    """umbel's own, which an operator may start: not without a key, nor with a client's."""
    own = build_bundle(PYPROJECT)
    content = StartRunRequest(fab=Fab(content=own)).SerializeToString()
    refused(federation.http.post(START, content=content, headers=PROTOBUF), 401, "no-key")
    headers = operator_headers(federation.key_file("mallory"), START, content)
    refused(federation.http.post(START, content=content, headers=headers), 403, "key-unfit")
    headers = operator_headers(federation.operator, START, content)
    other = StartRunRequest(fab=Fab(content=own + b" ")).SerializeToString()
    answer = federation.http.post(START, content=other, headers=headers)
    refused(answer, 401, "bad-signature")


def test_foreign_app_bundle(federation):
    refused(start(federation, b"no zip at all"), 400, "bundle")
    refused(start(federation, b""), 400, "bundle")
    foreign = PYPROJECT.replace(b"umbel.client.app:app", b"os:system")
    refused(start(federation, build_bundle(foreign)), 403, "bundle")
    with_code = io.BytesIO()
    with zipfile.ZipFile(with_code, "w") as bundle:
        bundle.writestr("pyproject.toml", PYPROJECT)
        bundle.writestr("umbel/__init__.py", "raise SystemExit")
    refused(start(federation, with_code.getvalue()), 403, "bundle")
    elsewhere = io.BytesIO()
    with zipfile.ZipFile(elsewhere, "w") as bundle:
        bundle.writestr("pyproject.toml", PYPROJECT)
        bundle.writestr("../../../../tmp/.info/CONTENT", "")
    refused(start(federation, elsewhere.getvalue()), 403, "bundle")


def test_garbage(federation):
    for content in (b"\xff" * 1000, b"\x0a\xff\xff\xff\xff\x0f"):
        answer = federation.http.post(
            "/v1/fleet/push-messages",
            content=content,
            headers=node_headers(federation.key("mallory")),
        )
        refused(answer, 400, "malformed")
    headers = node_headers(federation.key("mallory")) | {"content-type": "application/json"}
    refused(federation.http.post(PULL, headers=headers), 415, "content-type")


def test_what_a_node_says_of_itself_is_shown_and_does_nothing(federation, monkeypatch):
    about = {"name": "../../evil", "schema": "[/bold]\x1b[2J\n[red]none"}
    headers = {"umbel-about": pack_about(about)}
    node = federation.activate("late-teller", **headers)
    assert pull(federation, "late-teller", node, **headers).status_code == 200
    access = federation.access(federation.operator)
    rows, _ = federation.umbel("nodes", *access)
    [row] = [row for row in rows if row["node"] == node]
    assert (row["name"], row["schema"]) == ("late-teller", about["schema"])
    monkeypatch.setitem(federation.environment, "COLUMNS", "400")
    process = federation.start("nodes", *access)
    out, said = process.communicate(timeout=120)
    assert process.returncode == 0, said.decode()
    table = " ".join(out.decode().split())
    assert "[/bold]" in table and "\x1b" not in table and "evil" not in table


def test_version_that_cannot_talk(federation):
    theirs = "umbel 9.9.9, protocol 99, flwr 1.50.0"
    answer = pull(federation, "mallory", **{"umbel-version": theirs})
    refused(answer, 426, "version")
    assert theirs in answer.json()["detail"] and "protocol 1" in answer.json()["detail"]
