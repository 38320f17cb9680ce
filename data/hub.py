"""Data sets of Hugging Face `datasets` and of torchvision, from a hub or a local folder."""

from __future__ import annotations

import inspect
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from ..errors import BadInput
from ..registry import nearest
from .assembly import Part, assemble, label_names
from .images import OPTIONS as IMAGE_OPTIONS
from .images import ImageRules, image_rules, stack_images
from .shard import Dataset
from .sources import Source
from .tables import DEFAULT_LABEL, Columns, table_part
from .tables import OPTIONS as TABLE_OPTIONS

_LABEL_NAMES = (DEFAULT_LABEL, "labels", "fine_label", "target", "class")
_TORCHVISION_ROOT = "~/.cache/umbel/torchvision"


def load_hugging_face(source: Source, label: str | None) -> Dataset:
    """`hf:NAME` or `hf:FOLDER`: a hub's data set, one saved to disk, or a folder of files.

    Options: `subset` (the hub's configuration), `train` and `test` (names of splits),
    `group` (the column of owners), `text` (the column of texts that are the examples), and for
    images `size` and `mode`. Without a text, a data set has one image column, or numeric feature
    columns.
    """
    options = source.take(["subset", "train", "test", *TABLE_OPTIONS, *IMAGE_OPTIONS])
    library = _library("datasets", "flwr-datasets", source)
    splits = _hugging_face_splits(library, source, options.get("subset"))
    train_name = options.get("train", "train" if "train" in splits else next(iter(splits)))
    test_name = options.get("test", "test" if "test" in splits else None)
    for name in (train_name, test_name):
        if name is not None and name not in splits:
            raise BadInput(
                f"data.source: {source.text}: no split {name!r}{nearest(name, list(splits))}"
            )
    train, features, classes = _hugging_face_part(splits[train_name], source, label)
    test = None
    if test_name is not None and test_name != train_name:
        test = _hugging_face_part(splits[test_name], source, label)[0]
    name = Path(source.name).name or source.name
    return assemble(name, train, test, classes=classes, features=features)


def load_torchvision(source: Source) -> Dataset:
    """`torchvision:CLASS`: any image classification data set of `torchvision.datasets`.

    Options: `root` (the folder that holds it, default ~/.cache/umbel/torchvision),
    `download=true` (fetch it there first), and `size` and `mode`.
    """
    options = source.take(["root", "download", *IMAGE_OPTIONS])
    library = _library("torchvision.datasets", "torchvision", source)
    make = getattr(library, source.name, None)
    if not inspect.isclass(make):
        raise BadInput(
            f"data.source: {source.text}: torchvision.datasets has no {source.name!r}"
            f"{nearest(source.name, library.__all__)}"
        )
    root = Path(options.get("root", _TORCHVISION_ROOT)).expanduser()
    download = options.get("download", "false").lower() == "true"
    rules = image_rules(source)
    parts: list[Part] = []
    classes: tuple[str, ...] | None = None
    for train in (True, False):
        arguments = _split_arguments(make, train)
        if arguments is None:
            continue
        if download and "download" in inspect.signature(make).parameters:
            arguments["download"] = True
        items = _open_torchvision(make, root, arguments, source)
        classes = _class_names(items)
        parts.append(_torchvision_part(items, classes, source, rules))
    return assemble(source.name, parts[0], parts[1] if parts[1:] else None, classes=classes)


def _library(module: str, package: str, source: Source) -> ModuleType:
    import importlib

    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise BadInput(
            f"data.source: {source.text} needs the package {package} ({error}); "
            f"install it with: pip install {package}"
        ) from None


def _hugging_face_splits(library: ModuleType, source: Source, subset: str | None) -> dict[str, Any]:
    """The splits by name; a saved data set without splits counts as one called train."""
    folder = Path(source.name).expanduser()
    local = folder.is_dir()
    try:
        if local and any((folder / n).exists() for n in ("dataset_dict.json", "state.json")):
            found = library.load_from_disk(str(folder))
        elif local:
            # The library copies what it reads into a cache; a site's own data leaves no copy.
            with tempfile.TemporaryDirectory(prefix="umbel-hf-") as cache:
                found = library.load_dataset(
                    str(folder), name=subset, cache_dir=cache, keep_in_memory=True
                )
        else:
            found = library.load_dataset(source.name, name=subset)
    except Exception as error:  # noqa: BLE001 - the library raises dozens of types
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise BadInput(f"data.source: {source.text}: cannot be loaded: {reason}") from None
    return dict(found) if isinstance(found, dict) else {"train": found}


def _hugging_face_part(
    rows: Any, source: Source, label: str | None
) -> tuple[Part, tuple[str, ...], Sequence[str] | None]:
    """One split: its part, feature names (none for images), and class names if declared."""
    columns = Columns.of(label or _label_column(rows.features), source.options)
    column, group = columns.label, columns.group
    if column not in rows.features:
        raise BadInput(
            f"data.source: {source.text}: has no label column {column!r}; name it with "
            f"data.label (or --label){nearest(column, list(rows.features))}"
        )
    declared = getattr(rows.features[column], "names", None)
    pictures = [n for n, kind in rows.features.items() if type(kind).__name__ == "Image"]
    if not pictures or columns.text is not None:
        part, features = table_part(rows.with_format("arrow")[:], columns, where=source.text)
        return _named(part, declared), features, declared
    if group is not None and group not in rows.features:
        raise BadInput(
            f"data.source: {source.text}: has no group column {group!r}"
            f"{nearest(group, list(rows.features))}"
        )
    raw = np.array([-1 if value is None else value for value in rows[column]])
    try:
        named = ((f"{source.text}: row {i + 1}", row) for i, row in enumerate(rows[pictures[0]]))
        x = stack_images(named, image_rules(source))
    except OSError as error:
        raise BadInput(f"data.source: {source.text}: an image cannot be read: {error}") from None
    part = Part(
        x=x,
        labels=label_names(raw, source.text),
        where=source.text,
        groups=None if group is None else np.array([str(value) for value in rows[group]]),
    )
    return _named(part, declared), (), declared


def _label_column(features: Any) -> str:
    """The one column of class labels, or the first of the usual names."""
    declared = [name for name, kind in features.items() if hasattr(kind, "names")]
    if len(declared) == 1:
        return str(declared[0])
    return next((name for name in _LABEL_NAMES if name in features), DEFAULT_LABEL)


def _named(part: Part, declared: Sequence[str] | None) -> Part:
    """The part with label codes replaced by the class names that the data set declares."""
    if declared is None:
        return part
    name_of = {str(code): name for code, name in enumerate(declared)} | {"": ""}
    labels = np.array([name_of.get(str(code), str(code)) for code in part.labels], dtype=str)
    return Part(x=part.x, labels=labels, where=part.where, groups=part.groups)


def _split_arguments(make: type, train: bool) -> dict[str, Any] | None:
    """How this class asks for its train or test part; None where it has no test part."""
    parameters = inspect.signature(make).parameters
    if "train" in parameters:
        return {"train": train}
    if "split" in parameters:
        return {"split": "train" if train else "test"}
    return {} if train else None


def _open_torchvision(
    make: type, root: Path, arguments: dict[str, Any], source: Source
) -> Sequence[Any]:
    try:
        items: Sequence[Any] = make(str(root), **arguments)
        len(items)
    except Exception as error:  # noqa: BLE001 - each class raises as it likes
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise BadInput(
            f"data.source: {source.text}: cannot be opened in {root}: {reason}; give its "
            "folder with ?root=FOLDER, or add &download=true"
        ) from None
    return items


def _class_names(items: Any) -> tuple[str, ...] | None:
    names = getattr(items, "classes", None)
    if not names or not all(isinstance(name, str) for name in names):
        return None
    # MNIST calls its classes "0 - zero": the code in front is the name elsewhere.
    short = tuple(name.split(" - ")[0] for name in names)
    return short if len(set(short)) == len(short) else tuple(names)


def _torchvision_part(
    items: Sequence[Any], classes: tuple[str, ...] | None, source: Source, rules: ImageRules
) -> Part:
    labels: list[int] = []

    def pictures() -> Iterable[tuple[str, Any]]:
        for index in range(len(items)):
            image, label = items[index][:2]
            labels.append(_whole(label, source))
            yield f"{source.text}: image {index + 1}", image

    x = stack_images(pictures(), rules)
    part = Part(x=x, labels=label_names(np.array(labels), source.text), where=source.text)
    return _named(part, classes)


def _whole(label: Any, source: Source) -> int:
    try:
        return int(label)
    except (TypeError, ValueError):
        raise BadInput(
            f"data.source: {source.text}: its targets are {type(label).__name__}, not class "
            "labels; only data sets for classification can be used"
        ) from None
