"""Tables: CSV and Parquet files with a named label column, and numeric features or a text."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import BadInput
from ..registry import nearest
from .assembly import Part, label_names
from .texts import as_texts

if TYPE_CHECKING:
    import pyarrow as pa

DEFAULT_LABEL = "label"
OPTIONS = ("group", "text")
SUFFIXES = (".csv", ".parquet")


@dataclass(frozen=True)
class Columns:
    """Which columns of a table mean what: the label, the examples' owners, and the text that an
    example is; without a text every other column is a feature."""

    label: str
    group: str | None = None
    text: str | None = None

    @classmethod
    def of(cls, label: str, options: Mapping[str, str]) -> Columns:
        """The columns that a source's options name."""
        return cls(label, options.get("group"), options.get("text"))

    def named(self) -> dict[str, str]:
        """Those that are named, by what they mean."""
        found = {"label": self.label, "group": self.group, "text": self.text}
        return {kind: name for kind, name in found.items() if name is not None}


def read_table(path: Path, columns: Columns) -> tuple[Part, tuple[str, ...]]:
    """Read a CSV or Parquet file: its one `Part` and the names of its feature columns.

    Without a text column, every column that is named nothing else is a feature, float32. An
    empty label cell is an example without a label.
    """
    # Label and owner stay text, so that "01" and "1" remain two names. A text may hold line ends,
    # within quotes.
    table = open_table(path, columns.named().values(), line_ends=columns.text is not None)
    return table_part(table, columns, where=str(path))


def open_table(path: Path, texts: Iterable[str], *, line_ends: bool = False) -> pa.Table:
    """A CSV or Parquet file as an Arrow table.

    In a CSV file the columns `texts` are read as text whatever they hold, and an empty cell is
    null; quoted cells may hold line ends if `line_ends` says so.
    """
    import pyarrow as pa
    from pyarrow import csv, parquet

    kinds: Mapping[str, Any] = {name: pa.string() for name in texts}
    options = csv.ConvertOptions(
        column_types=dict(kinds), null_values=[""], strings_can_be_null=True
    )
    parsing = csv.ParseOptions(newlines_in_values=line_ends)
    try:
        if path.suffix == ".parquet":
            return parquet.read_table(path)
        return csv.read_csv(path, convert_options=options, parse_options=parsing)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        reason = str(error).splitlines()[0]
        raise BadInput(f"{path}: not a readable {path.suffix[1:]} file: {reason}") from None


def table_part(table: pa.Table, columns: Columns, *, where: str) -> tuple[Part, tuple[str, ...]]:
    """An Arrow table as a `Part` (x float32 (n, features), or texts) and its feature names."""
    named = columns.named()
    for kind, column in named.items():
        if column not in table.column_names:
            raise BadInput(
                f"{where}: has no {kind} column {column!r}; name it with {_option(kind)}"
                f"{nearest(column, table.column_names)}"
            )
    if table.num_rows == 0:
        raise BadInput(f"{where}: holds no examples; give a table with at least one row")
    x, features = _examples(table, columns, where)
    group = columns.group
    part = Part(
        x=x,
        labels=labels_in(table[columns.label], where),
        where=where,
        groups=None if group is None else np.array(texts_in(table[group]), dtype=str),
    )
    return part, features


def _examples(table: pa.Table, columns: Columns, where: str) -> tuple[np.ndarray, tuple[str, ...]]:
    """The texts (n,), or the features (n, f) and their names."""
    if columns.text is not None:
        column = table[columns.text]
        refuse_empty(table, [columns.text], where)
        return as_texts(str(value) for value in column.to_pylist()), ()
    features = tuple(n for n in table.column_names if n not in columns.named().values())
    if not features:
        raise BadInput(f"{where}: has no column besides the label; add at least one feature")
    refuse_empty(table, features, where)
    values = [
        numbers(table[name], name, where, hint=f", or say ?text={name} if it is the example")
        for name in features
    ]
    return np.stack(values, axis=1), features


def _option(kind: str) -> str:
    return "data.label (or --label)" if kind == "label" else f"the option {kind}= of the source"


def numbers(column: pa.ChunkedArray, name: str, where: str, *, hint: str = "") -> np.ndarray:
    """One feature column without empty cells (`refuse_empty`) as float32 (n,), or the first cell
    that is not a number, named."""
    import pyarrow as pa

    kind = column.type
    if pa.types.is_boolean(kind):
        return np.asarray(column).astype(np.float32)
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return np.asarray(column.cast(pa.float64())).astype(np.float32)
    row, value = _first_odd_cell(column)
    raise BadInput(
        f"{where}: row {row + 1}: column {name!r} holds {value!r}, not a number; "
        f"code it as numbers, or leave the column out{hint}"
    )


def refuse_empty(table: pa.Table, columns: Sequence[str], where: str) -> None:
    """Raise BadInput where rows lack a value in some of the columns, with how many do; a column
    that has none at all is no column of numbers, and `numbers` tells so."""
    import pyarrow as pa

    kept = [name for name in columns if not pa.types.is_null(table[name].type)]
    empty = [(name, np.asarray(table[name].is_null())) for name in kept if table[name].null_count]
    if not empty:
        return
    rows = np.flatnonzero(np.any([cells for _, cells in empty], axis=0))
    name = next(name for name, cells in empty if cells[rows[0]])
    more = f", and {len(rows) - 1} more" if len(rows) > 1 else ""
    other = ", or another," if more and len(empty) > 1 else ""
    raise BadInput(
        f"{where}: row {rows[0] + 1}{more}: column {name!r}{other} is empty; fill it in or leave "
        "the row out"
    )


def _first_odd_cell(column: pa.ChunkedArray) -> tuple[int, object]:
    for row, value in enumerate(column.to_pylist()):
        try:
            float(value)
        except (TypeError, ValueError):
            return row, value
    return 0, column[0].as_py()


def labels_in(column: pa.ChunkedArray, where: str) -> np.ndarray:
    """A label column as names (n,), empty where there is none."""
    import pyarrow as pa

    kind = column.type
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind):
        values = column.to_numpy()
        if values.dtype == object:  # booleans with empty cells
            return np.array(["" if v is None else str(v).lower() for v in values], dtype=str)
        return label_names(values, where)
    return np.array(texts_in(column), dtype=str)


def targets_in(cells: Sequence[str], name: str, where: str, *, what: str = "row") -> np.ndarray:
    """Cells of a column `name` as numbers (n,), float32, NaN where one is empty: it is not known.

    Raises BadInput, with the first `what` (a row, a molecule) of them, for cells that are no
    numbers, or none that float32 has.

    >>> targets_in(["-0.5", "", "2"], "y", "nodes.csv")
    array([-0.5,  nan,  2. ], dtype=float32)
    """
    found = np.full(len(cells), np.nan)
    for row, cell in enumerate(cells):
        try:
            found[row] = float(cell or "nan")
        except ValueError:
            found[row] = np.inf
        fits = abs(found[row]) <= np.finfo(np.float32).max
        if cell and not fits:
            raise BadInput(
                f"{where}: {what} {row + 1}: {name!r} is {cell!r}, not a finite number; leave it "
                "empty where it is not known, or the option numbers= out if it names a class"
            )
    return found.astype(np.float32)


def texts_in(column: pa.ChunkedArray) -> list[str]:
    """A column as texts without blanks around them, empty where a cell is."""
    return ["" if value is None else str(value).strip() for value in column.to_pylist()]
