"""The one-shot services of docker-compose.yml: what must be there before a federation starts.

    python containers/prepare.py keys
    python containers/prepare.py shards examples/digits.toml

`shards` divides an experiment's data among the clients. The first shards go to the clients that
have a volume of their own (`shards/client-0` and so on), the others to the volume that the
containers of the service `client` share (`shards/pool`). What `run` is to run, with the number of
clients filled in, goes to `plan/experiment.toml`.

`keys` makes certificates and keys, and hands each private key to the volume of its owner that is
mounted below `keys`. What is there already stays: both may run at every `docker compose up`.
"""

from __future__ import annotations

import filecmp
import os
import shutil
import socket
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from umbel import data
from umbel.data.shard import Shard
from umbel.errors import UmbelError
from umbel.experiment import Experiment, load
from umbel.processes import write_private
from umbel.schema import Schema
from umbel.security.folder import CA, CA_KEY, CLIENTS, OPERATORS, add_key, make_certs, write_public

HOME = Path("/umbel")
CERTS, KEYS, PLAN, SHARDS = HOME / "certs", HOME / "keys", HOME / "plan", HOME / "shards"
SERVER, RUN, POOL, AUTHORITY = "superlink", "run", "pool", "authority"
SCALED = "client"
"""The service whose number of containers is free: its name stands for all their addresses."""


def scaled() -> int:
    """How many containers the service `client` has at this moment."""
    try:
        return len(socket.gethostbyname_ex(SCALED)[2])
    except OSError:  # none: the name is not known
        return 0


def own_volumes(folder: Path) -> list[Path]:
    """The volumes below a folder that belong to one client each, in the clients' order."""
    return [path for path in sorted(folder.glob("client-*")) if os.path.ismount(path)]


def make_keys() -> None:
    """Certificates and keys, each where it belongs."""
    if not (CERTS / CA).exists():
        make_authority()
    give(RUN, OPERATORS, KEYS / RUN)
    own = own_volumes(KEYS)
    for folder in own:
        give(folder.name, CLIENTS, folder)
    if os.path.ismount(KEYS / POOL):
        for index in range(len(own), len(own) + scaled()):
            give(f"client-{index}", CLIENTS, KEYS / POOL / "keys")


def make_authority() -> None:
    """The server's certificate, and the authority that signed it; its key goes elsewhere."""
    with tempfile.TemporaryDirectory() as scratch:
        made = make_certs(Path(scratch) / "certs", [SERVER], operators=())
        hand_over(made / CA_KEY, KEYS / AUTHORITY / CA_KEY)
        # Last what says that all is there.
        for path in sorted(made.iterdir(), key=lambda path: path.name == CA):
            shutil.rmtree(CERTS / path.name, ignore_errors=True)
            shutil.move(path, CERTS / path.name)


def give(name: str, kind: str, folder: Path) -> None:
    """Put an owner's private key, and the authority's certificate, into its folder."""
    folder.mkdir(exist_ok=True)
    write_public(folder / CA, (CERTS / CA).read_bytes())
    target, made = folder / f"{name}.pem", CERTS / kind / f"{name}.pem"
    if not target.exists():
        hand_over(made if made.exists() else add_key(CERTS, name, kind=kind), target)
        print(f"{name} has a key", flush=True)


def hand_over(private: Path, target: Path) -> None:
    """Move a private file to another volume: whole, or not yet."""
    write_private(target, private.read_bytes())
    private.unlink()


@dataclass(frozen=True)
class Part:
    """Some of an experiment's shards, as a source of shards itself."""

    shards: data.PartitionedShards
    indices: range

    @property
    def schema(self) -> Schema:
        return self.shards.schema

    def __len__(self) -> int:
        return len(self.indices)

    def name(self, index: int) -> str:
        return self.shards.name(self.indices[index])

    def shard(self, index: int) -> Shard:
        return self.shards.shard(self.indices[index])


def make_shards(file: str) -> None:
    """The shards of an experiment, and what is to be run with them."""
    own = own_volumes(SHARDS)
    clients = len(own) + scaled()
    experiment = load(Path(file)).with_clients(clients)
    shards = data.make_shards(experiment)
    data.check_learnable(experiment, shards)
    changed = 0
    for folder, names in divided(own, clients):
        folder.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".new-") as scratch:
            made = Path(scratch) / "shards"
            data.write_shards(Part(shards, names), made)
            changed += put(made, folder)
    write_plan(experiment)
    said = f"{changed} of {clients} shards written anew" if changed else f"{clients} shards"
    print(f"{file}: {said}", flush=True)


def divided(own: list[Path], clients: int) -> Iterator[tuple[Path, range]]:
    """Each volume with the indices of the shards that it is to hold."""
    for index, folder in enumerate(own):
        yield folder, range(index, index + 1)
    yield SHARDS / POOL / "shards", range(len(own), clients)


def put(made: Path, folder: Path) -> int:
    """Replace the shards in `folder` by those in `made` where they differ; returns how many."""
    new = {path.name: path for path in made.iterdir()}
    old = {path.name: path for path in folder.iterdir() if not path.name.startswith(".")}
    for name in old.keys() - new.keys():
        shutil.rmtree(old[name])
    differing = [name for name in new if name not in old or not same(new[name], old[name])]
    for name in differing:
        if name in old:
            os.replace(old[name], made / f".{name}")
        os.replace(new[name], folder / name)
    return len(differing)


def same(one: Path, other: Path) -> bool:
    """Whether two shards are the same to the last byte."""
    names = sorted(path.name for path in one.iterdir())
    if names != sorted(path.name for path in other.iterdir()):
        return False
    return filecmp.cmpfiles(one, other, names, shallow=False)[0] == names


def write_plan(experiment: Experiment) -> None:
    temporary = PLAN / ".experiment.toml"
    temporary.write_text(experiment.to_toml(), "utf-8")
    os.replace(temporary, PLAN / "experiment.toml")


if __name__ == "__main__":
    try:
        make_keys() if sys.argv[1] == "keys" else make_shards(sys.argv[2])
    except UmbelError as error:
        for line in str(error).splitlines():
            print(f"umbel: {line}", file=sys.stderr)
        sys.exit(error.exit_code)
