"""Requests whose body is read before it is passed on."""

from __future__ import annotations

from starlette.types import Message, Receive


async def whole(receive: Receive) -> bytes | None:
    """A request's body, None if its sender has gone; the gate bounds how long it is."""
    pieces, more = [], True
    while more:
        message = await receive()
        if message["type"] != "http.request":
            return None
        pieces.append(message.get("body", b""))
        more = message.get("more_body", False)
    return b"".join(pieces)


def replay(content: bytes, receive: Receive) -> Receive:
    """Gives a body that was read already; then whatever comes after it."""
    messages: list[Message] = [{"type": "http.request", "body": content, "more_body": False}]

    async def again() -> Message:
        return messages.pop() if messages else await receive()

    return again
