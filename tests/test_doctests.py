"""Every example in a docstring does what it says."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
from pathlib import Path

import pytest

import umbel

MODULES = [
    "umbel",
    *(
        found.name
        for found in pkgutil.walk_packages(umbel.__path__, "umbel.")
        if found.name.split(".")[1] not in ("benchmarks", "build", "docs", "examples", "tests")
    ),
]


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    module = importlib.import_module(name)
    results = doctest.testmod(module, optionflags=doctest.NORMALIZE_WHITESPACE)
    assert results.failed == 0
