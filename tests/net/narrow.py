"""A SuperLink whose room is for two large replies, and is shut until so many wait for it.

    narrow.py PORT WAITING NOTES

It answers those who wait every half second that there is no room, and notes in a file how many
waited and the most that were in at a time.
"""

from __future__ import annotations

import json
import sys
from functools import partial
from pathlib import Path

from umbel.server import room, superlink_process
from umbel.server.superlink_settings import Settings
from umbel.server.uploads import Uploads

HOLD_SECONDS = 0.5


class Shut(room.Room):
    """Opens when so many have asked."""

    def __init__(self, waiting: int, notes: Path) -> None:
        super().__init__()
        self._wanted = waiting
        self._notes = notes
        self._waited = self._most = 0

    def admit(self, over=()):
        self._waited = max(self._waited, len(self.waiting))
        admitted = super().admit(over) if self._waited >= self._wanted else []
        self._most = max(self._most, len(self.held))
        self._notes.write_text(json.dumps({"waited": self._waited, "most": self._most}))
        return admitted


def main() -> None:
    port, waiting, notes = sys.argv[1:]
    room.ROOM_BYTES = 1
    shut = Shut(int(waiting), Path(notes))
    superlink_process.Uploads = partial(Uploads, room=shut, hold=HOLD_SECONDS)
    superlink_process.serve(Settings("127.0.0.1", int(port), "narrow.log"))


if __name__ == "__main__":
    main()
