"""How much of the clients' large replies is let into a SuperLink's memory, and in which order."""

from __future__ import annotations

import pytest

from umbel.lines import PIECE_BYTES
from umbel.server.room import (
    ABSENT_SECONDS,
    AHEAD_SECONDS,
    ROOM_BYTES,
    STUCK_SECONDS,
    Room,
    Upload,
)

PIECE = PIECE_BYTES[1]
HALF = ROOM_BYTES // PIECE // 2
"""Two replies of so many pieces fill the room, and a third finds none."""


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def room(clock) -> Room:
    return Room(clock)


def ask(room: Room, name: str, pieces: int, *, run: int = 1) -> Upload:
    upload = room.ask(Upload(name, f"key of {name}", run, pieces + 5, pieces))
    upload.asking = 1
    return upload


def send(upload: Upload, pieces: int, size: int = PIECE) -> None:
    """Have so many pieces come, each in two parts."""
    for _ in range(pieces):
        upload.receive(size // 2, so_far=size // 2, last=False)
        upload.receive(size - size // 2, so_far=size, last=True)


def finish(upload: Upload) -> None:
    """Have all of it come."""
    send(upload, upload.pieces)
    for _ in range(5):
        upload.receive(100, so_far=100, last=True)


def names(uploads) -> str:
    return "".join(upload.root for upload in uploads)


def test_as_many_are_let_in_as_there_is_room_for_in_their_order(room):
    uploads = [ask(room, name, HALF) for name in "abcd"]
    assert names(room.admit()) == "ab" and names(room.waiting) == "cd"
    # Asking again changes nothing, neither for who waits nor for who is in.
    assert [room.ask(Upload(u.root, u.sender, 1, 9, 4)) for u in uploads] == uploads
    assert names(room.admit()) == ""
    room.remove(uploads[:1])
    assert names(room.admit()) == "c"
    assert uploads[2] in room and uploads[3] not in room


def test_one_of_any_size_is_let_in_and_two_of_it_at_a_time(room):
    for name in "abc":
        ask(room, name, 1000 * HALF)
    assert names(room.admit()) == "ab"


def test_small_ones_behind_a_large_one_do_not_keep_it_out(room):
    first = ask(room, "a", HALF)
    assert names(room.admit()) == "a"
    ask(room, "b", 3 * HALF // 2)
    ask(room, "c", 1)
    assert names(room.admit()) == "b", "no more than two of its own size"
    ask(room, "d", 4 * HALF)
    ask(room, "e", 1)
    assert names(room.admit()) == ""
    room.remove([first])
    assert names(room.admit()) == "cd"


@pytest.mark.parametrize("senders", [2, 3, 10])
def test_half_uploaded_replies_never_wait_for_one_another(room, senders):
    """Whoever is in comes to its end, whatever else is in; all get in at last."""
    for index in range(senders):
        ask(room, chr(97 + index), HALF)
    done: list[Upload] = []
    room.admit()
    while room.held:
        for upload in room.held:
            send(upload, HALF // 2)
        assert room.admit() == [], "half of two is no room"
        for upload in room.held:
            send(upload, HALF - HALF // 2)
        done += room.held
        room.remove(room.held)
        room.admit()
    assert len(done) == senders and not room.waiting


def test_what_has_come_counts_in_place_of_what_might(room, clock):
    """Flower's own nodes may send many small arrays, each of which might be a large piece."""
    upload = ask(room, "a", 2 * HALF)
    room.admit()
    assert upload.takes(clock.now) == 2 * HALF * PIECE
    for _ in range(2 * HALF + 5):
        upload.receive(1000, so_far=1000, last=True)
    assert upload.takes(clock.now) == 1000 * (2 * HALF + 5)
    # A slow line's pieces are small, and the others will be as small as the first.
    slow = ask(room, "b", 100)
    room.admit()
    send(slow, 1, PIECE_BYTES[0])
    assert 100 <= slow.takes(clock.now) / PIECE_BYTES[0] <= 105, "some of its objects are small"
    assert names([room.sent_by("key of a"), room.sent_by("key of b")]) == "ab"


def test_a_dead_senders_reply_takes_only_what_has_come_of_it(room, clock):
    uploads = [ask(room, name, HALF) for name in "abc"]
    room.admit()
    finish(uploads[0])
    clock.now += AHEAD_SECONDS - 1
    assert room.admit() == []
    clock.now += 1
    assert names(room.admit()) == "c", "of b, nothing has come"
    assert uploads[0].takes(clock.now + 1e6) == uploads[0].size


def test_a_slow_senders_reply_takes_what_comes_soon(room, clock):
    slow = ask(room, "a", 2 * HALF)
    room.admit()
    send(slow, 1)
    clock.now += AHEAD_SECONDS
    assert slow.takes(clock.now) == 2 * PIECE
    clock.now += 2 * AHEAD_SECONDS
    send(slow, 2)
    assert slow.takes(clock.now) == 4 * PIECE


def test_what_is_never_fetched_holds_up_nobody_for_ever(room, clock):
    first, second = (ask(room, name, HALF) for name in "ab")
    room.admit()
    finish(first)
    finish(second)
    for name in "cd":
        ask(room, name, HALF)
    clock.now += STUCK_SECONDS
    assert room.admit() == []
    clock.now += 1
    assert names(room.admit()) == "c", "one, and the next as long after it"
    clock.now += STUCK_SECONDS / 2
    room.stir()
    clock.now += STUCK_SECONDS / 2 + 1
    assert room.admit() == []


def test_who_is_away_is_passed_over_and_keeps_its_place_for_a_while(room, clock):
    held = [ask(room, name, HALF) for name in "ab"]
    room.admit()
    away, here = ask(room, "c", HALF), ask(room, "d", HALF)
    away.asking = 0
    room.remove(held[:1])
    assert names(room.admit()) == "d"
    ask(room, "e", HALF)
    assert room.ask(away) is away
    away.asking = 1
    room.remove([here])
    assert names(room.admit()) == "c"
    gone = ask(room, "f", HALF)
    gone.asking = 0
    clock.now += ABSENT_SECONDS + 1
    room.remove(room.held)
    assert names(room.admit()) == "e"
    assert room.waiting == []


def test_nobody_waits_for_a_run_that_is_over(room):
    for name in "ab":
        ask(room, name, HALF)
    room.admit()
    ask(room, "c", HALF)
    ask(room, "d", HALF, run=2)
    assert names(room.admit({1})) == "c"
