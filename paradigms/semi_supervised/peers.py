"""What clients get of one another's models, and by what those are compared."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from ...data.texts import TEXT
from ...errors import BadInput
from ...schema import Schema


@dataclass(frozen=True)
class Lending:
    """Of how many others a client gets the tensors whose names begin with `prefix`.

    Args:
        peers: of how many, >= 0.
        prefix: of the names; all, if empty.
    """

    peers: int
    prefix: str = ""

    def __post_init__(self) -> None:
        if self.peers < 0:
            raise ValueError(f"peers: {self.peers} is less than 0")


def lending_of(source: str, peers: int) -> Lending:
    """What a client gets where its pseudo-labels are of a `source`: of a `committee`, whole models.

    >>> lending_of("round", 2).peers, lending_of("committee", 2).peers
    (0, 2)
    """
    if peers < 1:
        raise ValueError(f"peers: {peers} is less than 1")
    return Lending(peers if source == "committee" else 0)


def random_example(schema: Schema) -> np.ndarray:
    """One example (1, ...) as it is stored, of normal numbers: what models say of it tells which of
    them are alike. Bytes are of the mean 125 and the deviation 125, cut to 0..255, as in Jeong et
    al. 2021, FedMatch, arXiv 2006.12097. It is drawn by torch's own generator.

    Raises BadInput for texts.
    """
    if schema.dtype == TEXT:
        raise BadInput(
            "paradigm: clients' models are compared by what they say of random numbers, and the "
            "examples are texts; take a source of pseudo-labels, or a paradigm, without peers"
        )
    drawn = torch.randn(1, *schema.shape)
    if schema.dtype == "uint8":
        drawn = (125 + 125 * drawn).clamp(0, 255)
    return drawn.numpy().astype(schema.dtype)
