"""Molecules as graphs, of atoms and the bonds between them, read with rdkit.

An atom's features are its element, how many atoms it is bonded to, hydrogens among them, its formal
charge, how many hydrogens it has, its hybridisation, and whether it is aromatic and in a ring; a
bond's are its type, and whether it is conjugated and in a ring. They are choices of Hu et al. 2020,
Open Graph Benchmark, arXiv 2005.00687, as ones and zeros. Hydrogens are no nodes, but where a file
has them as atoms of their own.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import BadInput
from ..registry import nearest
from .graph_sets import GraphPart, assemble_graphs
from .shard import Dataset
from .sources import Source
from .stacking import Graph, first_three
from .tables import DEFAULT_LABEL, labels_in, open_table, targets_in, texts_in

SDF = ".sdf"
SMILES_OPTIONS, SDF_OPTIONS = ("smiles", "skip", "numbers"), ("skip", "numbers")

_ELEMENTS = ("B", "C", "N", "O", "F", "Si", "P", "S", "Cl", "Se", "Br", "I")
_ELEMENT_OF = {number: place for place, number in
               enumerate((5, 6, 7, 8, 9, 14, 15, 16, 17, 34, 35, 53))}  # fmt: skip
_MOST_BONDS, _MOST_HYDROGENS, _MOST_CHARGE = 5, 4, 2
_HYBRIDISATIONS = ("SP", "SP2", "SP3", "SP3D", "SP3D2")
_BONDS = ("SINGLE", "DOUBLE", "TRIPLE", "AROMATIC")

ATOM_FEATURES = (
    *_ELEMENTS,
    "other element",
    *(f"{count} bonds" for count in range(_MOST_BONDS)),
    f"{_MOST_BONDS} bonds or more",
    *(f"charge {charge:+d}" for charge in range(-_MOST_CHARGE, _MOST_CHARGE + 1)),
    "other charge",
    *(f"{count} hydrogens" for count in range(_MOST_HYDROGENS)),
    f"{_MOST_HYDROGENS} hydrogens or more",
    *(name.lower() for name in _HYBRIDISATIONS),
    "other hybridisation",
    "aromatic",
    "in a ring",
)
BOND_FEATURES = ("single", "double", "triple", "aromatic", "other bond", "conjugated", "in a ring")
_ATOM_CHOICES = (
    len(_ELEMENTS) + 1,
    _MOST_BONDS + 1,
    2 * _MOST_CHARGE + 2,
    _MOST_HYDROGENS + 1,
    len(_HYBRIDISATIONS) + 1,
)
_BOND_CHOICES = (len(_BONDS) + 1,)

log = logging.getLogger("umbel.data")


def holds_molecules(path: Path, source: Source) -> bool:
    return path.suffix == SDF or "smiles" in source.options


def read_molecules(
    path: Path, source: Source, label: str | None, test: Path | None = None
) -> Dataset:
    """A table with a column of SMILES (`?smiles=COLUMN`), or an SDF file, whose `label` is a
    property; with `?skip=true` molecules that cannot be read are left out, and else refused; with
    `?numbers=true` labels are numbers in place of classes."""
    options = source.take(SDF_OPTIONS if path.suffix == SDF else SMILES_OPTIONS)
    skip, numbers = source.says("skip"), source.says("numbers")

    def part(file: Path) -> GraphPart:
        name = label or DEFAULT_LABEL
        if file.suffix == SDF:
            return sdf_part(file, name, skip=skip, numbers=numbers)
        return smiles_part(file, options["smiles"], name, skip=skip, numbers=numbers)

    name = path.stem if test is None else path.parent.resolve().name
    found = part(path), None if test is None else part(test)
    return assemble_graphs(name, *found, features=ATOM_FEATURES)


def smiles_part(
    path: Path,
    column: str,
    label: str,
    *,
    skip: bool = False,
    numbers: bool = False,
    names: Mapping[str, str] | None = None,
) -> GraphPart:
    """The molecules of a CSV or Parquet file, grouped by scaffold; `names` renames labels."""
    chem = _rdkit(str(path))
    table = open_table(path, (column, label))
    for kind, name in (("SMILES", column), ("label", label)):
        if name not in table.column_names:
            raise BadInput(
                f"{path}: has no {kind} column {name!r}; name it with "
                f"{'data.label' if kind == 'label' else 'the option smiles= of the source'}"
                f"{nearest(name, table.column_names)}"
            )
    smiles = texts_in(table[column])
    if numbers:
        labels = targets_in(texts_in(table[label]), label, str(path))
    else:
        labels = labels_in(table[label], str(path))
    if names is not None:
        labels = np.array([names[name] for name in labels.tolist()])
    named = [f"row {row + 1} ({text!r})" for row, text in enumerate(smiles)]
    with chem.quiet():
        found = [chem.from_smiles(text) for text in smiles]
        return _part(chem, found, named, labels, (str(path), skip))


def sdf_part(path: Path, label: str, *, skip: bool = False, numbers: bool = False) -> GraphPart:
    """The molecules of an SDF file, grouped by scaffold; the property `label` is their label."""
    chem = _rdkit(str(path))
    with chem.quiet():
        try:
            found = list(chem.from_sdf(str(path))) if path.stat().st_size else []
        except OSError as error:
            raise BadInput(f"{path}: cannot be read: {str(error).splitlines()[0]}") from None
        has = [mol is not None and bool(mol.HasProp(label)) for mol in found]
        if found and not any(has):
            known = sorted(
                {name for mol in found if mol is not None for name in mol.GetPropNames()}
            )
            raise BadInput(
                f"{path}: no molecule has a property {label!r}; name it with data.label"
                f"{nearest(label, known)}"
            )
        try:
            told = [
                mol.GetProp(label).strip() if h else "" for mol, h in zip(found, has, strict=True)
            ]
        except UnicodeDecodeError:
            raise BadInput(f"{path}: property {label!r} is not UTF-8; write the file so") from None
        named = [f"molecule {place + 1}" for place in range(len(found))]
        labels = np.array(told, dtype=str)
        if numbers:
            labels = targets_in(told, label, str(path), what="molecule")
        return _part(chem, found, named, labels, (str(path), skip))


class _Rdkit:
    """What is used of rdkit, which is imported only here."""

    def __init__(self) -> None:
        from rdkit import Chem, rdBase
        from rdkit.Chem.Scaffolds import MurckoScaffold

        self.quiet: Callable[[], Any] = rdBase.BlockLogs
        self.from_smiles: Callable[[str], Any] = Chem.MolFromSmiles
        self.from_sdf: Callable[[str], Iterable[Any]] = Chem.SDMolSupplier
        self.scaffold: Callable[..., str] = MurckoScaffold.MurckoScaffoldSmiles
        kinds, bonds = Chem.HybridizationType.names, Chem.BondType.names
        self.hybridisation = {kinds[name]: place for place, name in enumerate(_HYBRIDISATIONS)}
        self.bond = {bonds[name]: place for place, name in enumerate(_BONDS)}


def _rdkit(where: str) -> _Rdkit:
    try:
        return _Rdkit()
    except ImportError as error:
        raise BadInput(
            f"{where}: molecules are read with rdkit, which is not there ({error}); install it "
            "with: pip install umbel[graph]"
        ) from None


def _part(
    chem: _Rdkit,
    found: Sequence[Any],
    named: Sequence[str],
    labels: np.ndarray,
    told: tuple[str, bool],
) -> GraphPart:
    where, skip = told
    # An empty cell is read as a molecule without atoms.
    good = [row for row, mol in enumerate(found) if mol is not None and mol.GetNumAtoms()]
    if len(good) < len(found):
        kept = set(good)
        bad = [name for row, name in enumerate(named) if row not in kept]
        what = f"{where}: {len(bad)} of {len(found)} molecules cannot be read: {first_three(bad)}"
        if not skip:
            raise BadInput(f"{what}; mend them, or leave them out with the option skip=true")
        log.warning("%s; left out", what)
    if not good:
        raise BadInput(f"{where}: holds no molecules; give a file with at least one")
    return GraphPart(
        graphs=[_graph(chem, found[row], named[row]) for row in good],
        labels=labels[good],
        where=where,
        groups=np.array([chem.scaffold(mol=found[row]) for row in good]),
    )


def _graph(chem: _Rdkit, mol: Any, name: str) -> Graph:
    """Atoms as nodes (n, 38) and bonds as edges, each known by (7,) numbers."""
    atoms = [
        (
            _ELEMENT_OF.get(atom.GetAtomicNum(), len(_ELEMENTS)),
            min(atom.GetTotalDegree(), _MOST_BONDS),
            _charge(atom.GetFormalCharge()),
            min(atom.GetTotalNumHs(), _MOST_HYDROGENS),
            chem.hybridisation.get(atom.GetHybridization(), len(_HYBRIDISATIONS)),
            atom.GetIsAromatic(),
            atom.IsInRing(),
        )
        for atom in mol.GetAtoms()
    ]
    bonds = [
        (
            bond.GetBeginAtomIdx(),
            bond.GetEndAtomIdx(),
            chem.bond.get(bond.GetBondType(), len(_BONDS)),
            bond.GetIsConjugated(),
            bond.IsInRing(),
        )
        for bond in mol.GetBonds()
    ]
    pairs = np.array(bonds, np.int64).reshape(-1, 5)
    x = _ones(np.array(atoms, np.int64), _ATOM_CHOICES)
    return Graph(x, pairs[:, :2], _ones(pairs[:, 2:], _BOND_CHOICES), name)


def _charge(charge: int) -> int:
    return charge + _MOST_CHARGE if abs(charge) <= _MOST_CHARGE else 2 * _MOST_CHARGE + 1


def _ones(codes: np.ndarray, choices: Sequence[int]) -> np.ndarray:
    """Codes as ones and zeros, a block for each of the first columns; the others as they are.

    >>> _ones(np.array([[2, 1, 1], [0, 0, 0]]), (3, 2)).astype(int).tolist()
    [[0, 0, 1, 0, 1, 1], [1, 0, 0, 1, 0, 0]]
    """
    blocks = [np.eye(size, dtype=np.float32)[codes[:, k]] for k, size in enumerate(choices)]
    return np.concatenate([*blocks, codes[:, len(choices) :].astype(np.float32)], axis=1)
