"""The bundled molecules, each set read from its carrier: which pass into the brain, inhibit an
enzyme, are toxic, stop a virus, or dissolve in water."""

from __future__ import annotations

from .carriers import locate
from .graph_sets import assemble_graphs
from .molecules import ATOM_FEATURES, sdf_part, smiles_part
from .shard import Dataset


def bbbp() -> Dataset:
    """2,039 molecules that pass the blood-brain barrier, or not, no test part (BSD-3-Clause).

    Paper: Wu et al. 2018, MoleculeNet, arXiv 1703.00564
    """
    return _two_classes("bbbp", ("impermeable", "permeable"))


def bace() -> Dataset:
    """1,513 molecules that inhibit beta-secretase 1, or not, no test part (BSD-3-Clause).

    Paper: Wu et al. 2018, MoleculeNet, arXiv 1703.00564
    """
    return _two_classes("bace", ("inactive", "active"))


def clintox() -> Dataset:
    """1,478 drugs, of which 112 failed clinical trials as toxic, no test part (BSD-3-Clause).

    Paper: Wu et al. 2018, MoleculeNet, arXiv 1703.00564
    """
    return _two_classes("clintox", ("not toxic", "toxic"))


def hiv() -> Dataset:
    """41,127 molecules that stop HIV from multiplying, or not, no test part (BSD-3-Clause).

    Those of moderate activity count as active. The few that rdkit cannot read are left out, and
    the log says which. Reading them takes a minute.

    Paper: Wu et al. 2018, MoleculeNet, arXiv 1703.00564
    """
    names = {"CI": "inactive", "CM": "active", "CA": "active"}
    part = smiles_part(locate("hiv"), "smiles", "target", skip=True, names=names)
    return assemble_graphs("hiv", part, classes=("inactive", "active"), features=ATOM_FEATURES)


def solubility() -> Dataset:
    """1,282 molecules of low, medium or high solubility, split 1,025 / 257 (Apache-2.0).

    They are those of RDKit's own documentation.
    """
    train = locate("solubility")
    test = train.with_name(train.name.replace(".train", ".test"))
    parts = [sdf_part(path, "SOL_classification") for path in (train, test)]
    return assemble_graphs("solubility", *parts, features=ATOM_FEATURES)


def _two_classes(name: str, classes: tuple[str, str]) -> Dataset:
    names = {"0": classes[0], "1": classes[1]}
    part = smiles_part(locate(name), "smiles", "target", names=names)
    return assemble_graphs(name, part, classes=classes, features=ATOM_FEATURES)
