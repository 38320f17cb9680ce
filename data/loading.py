"""From a source, as the experiment file names it, to a `Dataset`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import get_type_hints

import numpy as np
from pydantic import TypeAdapter, ValidationError

from .. import registry
from ..errors import BadInput
from ..registry import nearest
from . import arrays, graph_tables, hub, images, molecules, planetoid, storage, tables
from .assembly import Part, assemble, recode
from .catalogue import DATASETS
from .shard import Dataset
from .sources import Source, parse_source

_SPLITS = ("train", "test")
_FORMATS = "a .csv, .parquet, .npz or .sdf file, or a folder with one subfolder of images a class"


def load_dataset(
    source: str, *, label: str | None = None, classes: Sequence[str] | None = None
) -> Dataset:
    """Load a whole data set.

    `source` is a bundled name, a path, `hf:NAME`, `torchvision:NAME`, `planetoid:NAME` or
    `package.module:factory`; options may follow a question mark (`photos?size=32`). `label`
    names the label column of a table (default "label"). `classes` fixes the classes and
    their codes; without it they are the sorted labels found. Raises BadInput for anything
    that cannot be read, naming it.

    >>> digits = load_dataset("digits")
    >>> digits.train["x"].shape, digits.train["x"].dtype, digits.schema.classes[:3]
    ((1797, 8, 8), dtype('uint8'), ('0', '1', '2'))
    """
    parsed = parse_source(source)
    if parsed.kind == "path":
        dataset = load_path(parsed, label=label)
    elif parsed.kind == "hf":
        dataset = hub.load_hugging_face(parsed, label)
    elif parsed.kind == "torchvision":
        dataset = hub.load_torchvision(parsed)
    elif parsed.kind == "planetoid":
        dataset = planetoid.load_planetoid(parsed)
    else:
        options = _typed(parsed)
        dataset = registry.resolve("dataset", parsed.name)(**options)
        if not isinstance(dataset, Dataset):
            raise BadInput(
                f"data.source: {source} returned {type(dataset).__name__}; a data set factory "
                "returns an umbel.data.Dataset"
            )
    return dataset if classes is None else recode(dataset, classes, source)


def _typed(source: Source) -> dict[str, object]:
    """A factory's options, which are its keyword parameters, in their types."""
    factory = registry.resolve("dataset", source.name)
    given = source.take(registry.parameters("dataset", source.name))
    hints = get_type_hints(factory) if given else {}
    options: dict[str, object] = {}
    for key, text in given.items():
        try:
            options[key] = TypeAdapter(hints.get(key, str)).validate_python(text)
        except ValidationError as error:
            message = error.errors()[0]["msg"].replace("Input should be", "must be")
            raise BadInput(f"data.source: {source.text}: {key}: {message}") from None
    return options


def load_path(source: Source, *, label: str | None = None) -> Dataset:
    """Load a file or folder, whatever else its name may mean; errors as `load_dataset`."""
    path = Path(source.name).expanduser()
    if not path.exists():
        raise BadInput(
            f"data.source: {source.name}: no such file, folder or data set"
            f"{nearest(source.name, sorted(DATASETS))}, or a path"
        )
    if path.is_file():
        return _load_file(path, source, label)
    if storage.is_shard_folder(path):
        source.take(())
        return storage.shard_as_dataset(path)
    if arrays.is_idx_folder(path):
        source.take(())
        return arrays.read_idx_folder(path)
    if graph_tables.is_graph_folder(path):
        return graph_tables.read_graph_folder(path, source, label)
    return _load_folder(path, source, label)


def _load_file(path: Path, source: Source, label: str | None, test: Path | None = None) -> Dataset:
    if path.suffix == ".npz" and test is None:
        source.take(())
        return arrays.read_npz(path)
    if molecules.holds_molecules(path, source):
        return molecules.read_molecules(path, source, label, test)
    if path.suffix not in tables.SUFFIXES:
        raise BadInput(f"{path}: cannot be read as data; give {_FORMATS}")
    columns = tables.Columns.of(label or tables.DEFAULT_LABEL, source.take(tables.OPTIONS))
    train, features = tables.read_table(path, columns)
    if test is None:
        return assemble(path.stem, train, features=features)
    test_part, test_features = tables.read_table(test, columns)
    if test_features != features:
        raise BadInput(
            f"{test}: has the columns {', '.join(test_features)}; {path} has "
            f"{', '.join(features)}; both need the same in the same order"
        )
    return assemble(path.parent.name, train, test_part, features=features)


def _load_folder(folder: Path, source: Source, label: str | None) -> Dataset:
    """A folder of class subfolders, of train/ and test/ holding those, or of table files."""
    names = [path.name for path in images.class_folders(folder)]
    if not names:
        return _load_table_folder(folder, source, label)
    source.take(images.OPTIONS)
    rules = images.image_rules(source)
    if "train" in names and set(names) <= set(_SPLITS):
        train = images.read_image_folder(folder / "train", rules)
        test = images.read_image_folder(folder / "test", rules) if "test" in names else None
        return _assemble_images(folder, train, test)
    return _assemble_images(folder, images.read_image_folder(folder, rules), None)


def _assemble_images(folder: Path, train: Part, test: Part | None) -> Dataset:
    found = [train] if test is None else [train, test]
    # Folder names sort as text: what a person sees in a file browser is the order of classes.
    classes = sorted({str(name) for part in found for name in np.unique(part.labels)} - {""})
    return assemble(folder.resolve().name, train, test, classes=classes)


def _load_table_folder(folder: Path, source: Source, label: str | None) -> Dataset:
    suffixes = (*tables.SUFFIXES, ".npz", molecules.SDF)
    files = sorted(path for path in folder.iterdir() if path.suffix in suffixes)
    if not files:
        hint = " (images must lie in one subfolder a class)" if images.holds_images(folder) else ""
        raise BadInput(f"{folder}: holds no data{hint}; give {_FORMATS}")
    if len(files) == 1:
        return _load_file(files[0], source, label)
    by_stem = {path.stem: path for path in files}
    if len(files) == 2 and set(by_stem) == set(_SPLITS):
        return _load_file(by_stem["train"], source, label, test=by_stem["test"])
    listed = ", ".join(path.name for path in files[:5])
    raise BadInput(
        f"{folder}: holds {len(files)} data files ({listed}); name one of them, or call them "
        "train and test"
    )
