"""From raw arrays and label names to a checked `Dataset`: the last step of every reader."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from ..errors import BadInput
from ..registry import nearest
from ..schema import Schema
from .shard import UNLABELLED, Dataset
from .texts import dtype_of


@dataclass(frozen=True)
class Part:
    """One part (train or test) of a data set as a reader found it.

    `x` is (n, ...), or texts (n,); `labels` (n,) holds label names as text, empty where there is
    no label; `groups` (n,) the examples' owners, where known; `where` names the file for errors.
    """

    x: np.ndarray
    labels: np.ndarray
    where: str
    groups: np.ndarray | None = None


def assemble(
    name: str,
    train: Part,
    test: Part | None = None,
    *,
    classes: Sequence[str] | None = None,
    features: Sequence[str] = (),
) -> Dataset:
    """A data set whose classes are `classes`, or the sorted labels found in both parts.

    Raises BadInput for no examples at all, a label outside `classes`, a value that is not
    finite, and parts that do not fit each other.

    >>> part = Part(np.zeros((3, 2), np.float32), np.array(["b", "", "a"]), "a.csv")
    >>> dataset = assemble("a", part)
    >>> dataset.schema.classes, dataset.train["y"].tolist()
    (('a', 'b'), [1, -1, 0])
    """
    parts = [train] if test is None else [train, test]
    for part in parts:
        _check_part(part)
    if test is not None and test.x.shape[1:] != train.x.shape[1:]:
        raise BadInput(
            f"{test.where}: examples of shape {test.x.shape[1:]}, but {train.where} has "
            f"{train.x.shape[1:]}; both parts need the same columns or image size"
        )
    names = tuple(classes) if classes is not None else sorted_classes(parts)
    schema = Schema(
        task="classification",
        shape=tuple(int(size) for size in train.x.shape[1:]),
        dtype=dtype_of(train.x),
        classes=names,
        features=tuple(features),
    )
    arrays = [{"x": part.x, "y": encode(part.labels, names, part.where)} for part in parts]
    return Dataset(
        name=name,
        schema=schema,
        train=arrays[0],
        test=arrays[1] if len(arrays) == 2 else None,
        groups=train.groups,
    )


class Labelled(Protocol):
    """Something whose examples have label names (n,), empty where there is none."""

    @property
    def labels(self) -> np.ndarray: ...


def sorted_classes(parts: Sequence[Labelled]) -> tuple[str, ...]:
    """The labels found, sorted: as numbers where all are whole numbers, else as text."""
    found = sorted({str(name) for part in parts for name in np.unique(part.labels)} - {""})
    if all(name.lstrip("-").isdecimal() for name in found):
        found.sort(key=int)
    return tuple(found)


def encode(labels: np.ndarray, classes: Sequence[str], where: str) -> np.ndarray:
    """Label names (n,) as int64 codes, -1 for the empty name.

    Raises BadInput naming the first row whose label is outside `classes`.

    >>> encode(np.array(["no", "", "yes"]), ["no", "yes"], "a.csv").tolist()
    [0, -1, 1]
    """
    code_of = {name: code for code, name in enumerate(classes)} | {"": UNLABELLED}
    found, inverse = np.unique(labels, return_inverse=True)
    unknown = [position for position, name in enumerate(found) if str(name) not in code_of]
    if unknown:
        row = int(np.flatnonzero(np.isin(inverse, unknown))[0])
        label = str(labels[row])
        raise BadInput(
            f"{where}: row {row + 1}: label {label!r} is outside the classes"
            f"{nearest(label, classes)}"
        )
    codes = np.array([code_of[str(name)] for name in found], dtype=np.int64)
    return codes[inverse.reshape(-1)]


def recode(dataset: Dataset, classes: Sequence[str], where: str) -> Dataset:
    """The same data set with its labels coded as positions in `classes`.

    A site's own file may lack a class that other sites have; giving every site the same
    `classes` makes their label codes agree.
    """
    if tuple(classes) == dataset.schema.classes:
        return dataset
    names = np.array([*dataset.schema.classes, ""])

    def part(arrays: Mapping[str, np.ndarray], where: str) -> dict[str, np.ndarray]:
        return {**arrays, "y": encode(names[arrays["y"]], classes, where)}

    return dataclasses.replace(
        dataset,
        schema=dataclasses.replace(dataset.schema, classes=tuple(classes)),
        train=part(dataset.train, where),
        test=None if dataset.test is None else part(dataset.test, f"{where} (test part)"),
    )


def label_names(values: np.ndarray, where: str) -> np.ndarray:
    """Labels of any plain type as names (n,); a negative number or NaN is no label.

    >>> label_names(np.array([2, -1, 0]), "a.npz").tolist()
    ['2', '', '0']
    """
    if values.dtype == bool:
        return np.where(values, "true", "false")
    if values.dtype.kind == "f":
        missing = np.isnan(values)
        whole = np.where(missing, UNLABELLED, values)
        odd = np.flatnonzero(~np.isfinite(whole) | (whole != np.floor(whole)))
        if len(odd):
            raise BadInput(
                f"{where}: row {odd[0] + 1}: label {values[odd[0]]:g} is not a class; "
                "labels must be names or whole numbers"
            )
        values = whole.astype(np.int64)
    if values.dtype.kind in "iu":
        return np.where(values < 0, "", values.astype(str)) if len(values) else values.astype(str)
    if values.dtype.kind in "US":
        return values.astype(str)
    raise BadInput(
        f"{where}: labels of type {values.dtype} cannot be read; use names or whole numbers"
    )


def _check_part(part: Part) -> None:
    if len(part.x) == 0:
        raise BadInput(f"{part.where}: holds no examples; give a file or folder with some")
    if len(part.x) != len(part.labels):
        raise BadInput(
            f"{part.where}: {len(part.x)} examples but {len(part.labels)} labels; "
            "there must be one label for each example (-1 or empty where unknown)"
        )
    if part.x.dtype.kind == "f":
        finite = np.isfinite(part.x.reshape(len(part.x), -1)).all(axis=1)
        if not finite.all():
            rows = np.flatnonzero(~finite)
            more = f", and {len(rows) - 1} more:" if len(rows) > 1 else ":"
            raise BadInput(
                f"{part.where}: row {rows[0] + 1}{more} holds a value that is missing or not "
                "finite; fill it in or leave the row out"
            )
