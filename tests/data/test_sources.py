from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from umbel.data.sources import parse_source, resolve_source
from umbel.errors import BadInput


@pytest.mark.parametrize(
    ("text", "kind", "name"),
    [
        ("fashion-mnist", "bundled", "fashion-mnist"),
        ("hf:ylecun/mnist", "hf", "ylecun/mnist"),
        ("hf:/local/folder", "hf", "/local/folder"),
        ("torchvision:FashionMNIST?root=/d", "torchvision", "FashionMNIST"),
        ("planetoid:Cora?root=/d", "planetoid", "Cora"),
        ("hospital.data:hearts", "factory", "hospital.data:hearts"),
        ("/data/a.csv?group=ward", "path", "/data/a.csv"),
        ("./digits", "path", "./digits"),
    ],
)
def test_kinds(text: str, kind: str, name: str) -> None:
    source = parse_source(text)
    assert (source.kind, source.name) == (kind, name)


def test_an_unknown_option_offers_the_nearest() -> None:
    with pytest.raises(BadInput, match="unknown option 'siz'; did you mean 'size'"):
        parse_source("photos?siz=3").take(["size", "mode"])


def test_relative_paths_are_seen_from_the_experiments_folder(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "set").mkdir()
    expected = {
        "digits": "digits",
        "dijits": "dijits",
        "a.csv?group=ward": f"{tmp_path}/a.csv?group=ward",
        "sub/a.csv": f"{tmp_path}/sub/a.csv",
        "/abs/a.csv": "/abs/a.csv",
        "photos": f"{tmp_path}/photos",
        "hf:set": f"hf:{tmp_path}/set",
        "hf:ylecun/mnist": "hf:ylecun/mnist",
        "torchvision:MNIST?root=set": f"torchvision:MNIST?root={tmp_path}/set",
        "planetoid:Cora?root=set": f"planetoid:Cora?root={tmp_path}/set",
        "my.module:data": "my.module:data",
    }
    assert {text: resolve_source(text, tmp_path) for text in expected} == expected


def test_the_catalogues_import_neither_numpy_nor_torch() -> None:
    code = (
        "import sys, umbel.data.catalogue, umbel.models.catalogue\n"
        "assert not {'numpy', 'torch', 'pandas', 'pyarrow'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
