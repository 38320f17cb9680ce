"""Answers from a peer that is not trusted: as large as agreed, as they are, from nobody else.

A compressed answer could unfold to a thousand times its size while it is read, an endless one
would fill the memory, and a redirected request would carry this side's signature elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterator

import httpx


class AnswerRefused(httpx.DecodingError):
    """An answer that this side will not read; asking again would not help."""


def restrict_answers(client: httpx.Client, limit: int) -> None:
    """Have a client read no answer of more than `limit` bytes, none that is compressed, and
    follow no redirection; what breaks this raises AnswerRefused before it is in memory."""
    client.follow_redirects = False
    client.headers["accept-encoding"] = "identity"

    def check(response: httpx.Response) -> None:
        encoding = response.headers.get("content-encoding", "identity")
        length = response.headers.get("content-length", "")
        if encoding != "identity":
            _refuse(response, "the answer is compressed, which was not asked for")
        if length.isdigit() and int(length) > limit:
            _refuse(response, f"the answer is larger than {limit} bytes")
        response.stream = _Limited(response, limit)

    client.event_hooks = {"response": [check, read_at_once]}


def read_at_once(response: httpx.Response) -> None:
    """Take in an answer, and break the circle in which it and its stream hold each other: its
    bytes would be in memory until Python happens to look for circles. A hook of a client's."""
    response.read()
    response.stream = httpx.ByteStream(b"")


def _refuse(response: httpx.Response, reason: str) -> None:
    response.close()
    raise AnswerRefused(reason, request=response.request)


class _Limited(httpx.SyncByteStream):
    """An answer's body that ends in an error once it is too long."""

    def __init__(self, response: httpx.Response, limit: int) -> None:
        self._inner = response.stream
        self._request = response.request
        self._limit = limit

    def __iter__(self) -> Iterator[bytes]:
        read = 0
        if not isinstance(self._inner, httpx.SyncByteStream):
            raise TypeError("the answer cannot be read in steps")
        for chunk in self._inner:
            read += len(chunk)
            if read > self._limit:
                raise AnswerRefused(
                    f"the answer is larger than {self._limit} bytes", request=self._request
                )
            yield chunk

    def close(self) -> None:
        if isinstance(self._inner, httpx.SyncByteStream):
            self._inner.close()
