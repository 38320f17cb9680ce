"""What a shard's examples look like: the part of it that a client tells the server."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, fields


@dataclass(frozen=True)
class Schema:
    """The shape of one example, and the labels.

    `shape` and `dtype` describe one stored example (an 8x8 grey image: `(8, 8)`, `"uint8"`),
    `classes` names the labels in the order of their integer codes, `features` names the
    columns of a table (empty for images). A text has shape `()` and dtype `"text"`. Of graphs they
    describe a node, and `edge_width` says how many numbers are known of each edge.

    >>> a = Schema(task="classification", shape=(8, 8), dtype="uint8", classes=("0", "1"))
    >>> Schema.from_json(a.to_json()) == a
    True
    >>> b = Schema(task="classification", shape=(28, 28), dtype="uint8", classes=("0", "1"))
    >>> a.differences(b)
    ['shape (8, 8) instead of (28, 28)']
    """

    task: str
    shape: tuple[int, ...]
    dtype: str
    classes: tuple[str, ...] = ()
    features: tuple[str, ...] = ()
    edge_width: int = 0

    def to_json(self) -> str:
        return json.dumps(asdict(self), sort_keys=True)

    def summary(self) -> str:
        """The schema in a few words.

        >>> Schema("classification", (8, 8), "uint8", ("0", "1")).summary()
        'classification of (8, 8) uint8, 2 classes'
        """
        classes = f", {len(self.classes)} classes" if self.classes else ""
        edges = f", {self.edge_width} numbers an edge" if self.edge_width else ""
        return f"{self.task} of {self.shape} {self.dtype}{edges}{classes}"

    @classmethod
    def from_json(cls, text: str) -> Schema:
        """Read what `to_json` wrote; raises ValueError for anything else."""
        try:
            raw = json.loads(text)
            return cls(
                task=str(raw["task"]),
                shape=tuple(int(size) for size in raw["shape"]),
                dtype=str(raw["dtype"]),
                classes=tuple(str(name) for name in raw["classes"]),
                features=tuple(str(name) for name in raw["features"]),
                edge_width=int(raw.get("edge_width", 0)),
            )
        except (KeyError, TypeError, OverflowError, json.JSONDecodeError) as error:
            raise ValueError(f"not a shard schema: {error}") from error

    def differences(self, other: Schema) -> list[str]:
        """What differs from `other`, a phrase each; empty where the two match."""
        return [
            f"{field.name} {getattr(self, field.name)} instead of {getattr(other, field.name)}"
            for field in fields(self)
            if getattr(self, field.name) != getattr(other, field.name)
        ]


def without_labels(
    classes: Sequence[str], labelled: Collection[int], who: str = "no client has"
) -> str:
    """What to tell of classes of which nobody has a label, given the codes of those of which
    somebody has; empty where there are none such. `who` says whose labels were looked at.

    >>> without_labels(["cat", "dog"], {0})
    'no client has a label of dog, so it is never learnt'
    """
    lacking = [name for code, name in enumerate(classes) if code not in labelled]
    if not lacking:
        return ""
    shown = ", ".join(lacking[:5]) + (f" and {len(lacking) - 5} more" if len(lacking) > 5 else "")
    which = "it is" if len(lacking) == 1 else "they are"
    return f"{who} a label of {shown}, so {which} never learnt"
