from __future__ import annotations

import threading
from types import SimpleNamespace

import httpx
import pytest

from umbel.errors import BadInput, UmbelError
from umbel.transfer import Fetcher, Gone, Patience, trust
from umbel.wire import NO_ROOM, REFUSAL_HEADER


def failing(times, error):
    """A request that fails so often before it succeeds."""
    left = iter([error] * times)

    def request():
        for found in left:
            raise found
        return "answer"

    return request


def test_request_is_repeated_while_the_superlink_is_away():
    assert Patience("here", 60.0)(failing(2, httpx.ConnectError("refused"))) == "answer"


def test_superlink_without_room_is_not_away():
    request = httpx.Request("POST", "http://here")
    full = httpx.Response(503, headers={REFUSAL_HEADER: NO_ROOM}, request=request)
    error = httpx.HTTPStatusError("full", request=request, response=full)
    patience = Patience("here", 0.0)
    assert patience(failing(3, error)) == "answer" and patience.away == 0.0


def test_patience_ends_and_says_what_it_waited_for():
    with pytest.raises(UmbelError, match="here: no SuperLink has answered for 0 s"):
        Patience("here", 0.0)(failing(1, httpx.ConnectError("refused")))


def test_untrusted_certificate_is_no_passing_fault():
    with pytest.raises(BadInput, match="here: .*signed by somebody else than --ca says"):
        Patience("here", 60.0)(failing(1, httpx.ConnectError("CERTIFICATE_VERIFY_FAILED")))


def test_waiting_ends_when_told_or_when_there_is_nothing_to_wait_for():
    stopped = threading.Event()
    stopped.set()
    with pytest.raises(UmbelError, match="stopped"):
        Patience("here", 60.0, stopped)(failing(1, httpx.ReadError("reset")))

    def over():
        raise UmbelError("the SuperLink ended")

    with pytest.raises(UmbelError, match="ended"):
        Patience("here", 60.0, check=over)(failing(1, httpx.ReadError("reset")))


def test_object_is_waited_for_while_it_is_uploaded():
    answers = [
        SimpleNamespace(object_found=True, object_available=False, object_content=b""),
        SimpleNamespace(object_found=True, object_available=True, object_content=b"x"),
    ]
    assert Fetcher(threading.Event())(lambda: answers.pop(0), "a" * 64, float("inf")) == b"x"


@pytest.mark.parametrize("found", [True, False])
def test_object_that_does_not_come_is_gone(found):
    answer = SimpleNamespace(object_found=found, object_available=False, object_content=b"")
    with pytest.raises(Gone):
        Fetcher(threading.Event())(lambda: answer, "a" * 64, 0.0)


def test_plain_http_leaves_this_machine_only_when_told(tmp_path):
    assert trust("127.0.0.1:1", None, insecure=False) is None
    assert trust("example.org:1", None, insecure=True) is None
    with pytest.raises(BadInput, match="--ca"):
        trust("example.org:1", None, insecure=False)
    with pytest.raises(BadInput, match="cannot be read"):
        trust("example.org:1", tmp_path / "none.pem", insecure=False)
