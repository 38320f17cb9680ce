"""A client that dies as soon as it is given something to train: `hasty_client.py ADDRESS SHARD STATE`.

It has not noted yet what it was given when it is killed, as by SIGKILL at the worst moment.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from umbel.client import fleet, node
from umbel.client.node import NodeOptions, run_node
from umbel.client.site import Site, make_site_app


class Hasty(fleet.FleetLink):
    def pull(self):
        delivery = super().pull()
        if delivery is not None and delivery.message.metadata.message_type == "train":
            os.kill(os.getpid(), signal.SIGKILL)
        return delivery


def main(address, data, state):
    node.FleetLink = Hasty
    site = Site(data, Path(state) / "state", "client-1")
    shard = site.read()
    run_node(NodeOptions(address=address, state=Path(state)), lambda: make_site_app(site, shard))


if __name__ == "__main__":
    main(*sys.argv[1:])
