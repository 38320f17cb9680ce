"""Molecules as graphs, and their scaffolds."""

from __future__ import annotations

import builtins
from pathlib import Path

import numpy as np
import pytest
from carried import carried

from umbel import registry
from umbel.data import Pool, load_dataset, make_shards
from umbel.errors import BadInput
from umbel.experiment import Experiment

ASPIRIN, PYRIDINIUM = "CC(=O)Oc1ccccc1C(=O)O", "c1cc[nH+]cc1"
ODD = "C[N+](C)(C)CC#CS(F)(F)(F)(F)Cl"
MOLECULES = [ASPIRIN, PYRIDINIUM, ODD, "[Na+].[Cl-]", "FC(F)=C=C1CCCC1", "C"]


@pytest.fixture(autouse=True)
def rdkit():
    return pytest.importorskip("rdkit", reason="the extra `graph` is not installed")


def table(folder: Path, *smiles: str) -> str:
    rows = "".join(
        f"{place},{text},{'yes' if place % 2 else 'no'}\n" for place, text in enumerate(smiles)
    )
    (folder / "drugs.csv").write_text(f"number,molecule,label\n{rows}")
    return f"{folder / 'drugs.csv'}?smiles=molecule"


def test_an_alcohol_by_hand(tmp_path: Path) -> None:
    found = load_dataset(table(tmp_path, "CCO", "N#N"))
    names = found.schema.features
    told = [{names[k] for k in np.flatnonzero(row)} for row in found.train["x"]]
    carbon = {"C", "4 bonds", "charge +0", "sp3"}
    assert told[:3] == [
        carbon | {"3 hydrogens"},
        carbon | {"2 hydrogens"},
        {"O", "2 bonds", "charge +0", "1 hydrogens", "sp3"},
    ]
    assert found.train["edges"].tolist() == [[0, 1], [1, 2], [0, 1]]
    assert found.train["edge_x"].argmax(axis=1).tolist() == [0, 0, 2]
    assert found.train["edge_x"].sum() == 3
    assert found.schema.classes == ("no", "yes") and found.train["nodes"].tolist() == [3, 2]


def test_features_are_those_of_pytorch_geometric(tmp_path: Path) -> None:
    """Its `from_smiles` has the same choices as whole numbers."""
    utils = pytest.importorskip("torch_geometric.utils")
    train = load_dataset(table(tmp_path, *MOLECULES)).train
    theirs = [utils.from_smiles(text) for text in MOLECULES]
    atoms = np.concatenate([data.x.numpy() for data in theirs])
    x = train["x"]
    assert train["nodes"].tolist() == [data.num_nodes for data in theirs]
    elements = [5, 6, 7, 8, 9, 14, 15, 16, 17, 34, 35, 53]
    expected = [elements.index(n) if n in elements else 12 for n in atoms[:, 0]]
    assert x[:, :13].argmax(axis=1).tolist() == expected
    assert x[:, 13:19].argmax(axis=1).tolist() == np.minimum(atoms[:, 2], 5).tolist()
    assert x[:, 19:25].argmax(axis=1).tolist() == (atoms[:, 3] - 5 + 2).tolist()
    assert x[:, 25:30].argmax(axis=1).tolist() == np.minimum(atoms[:, 4], 4).tolist()
    sp = {2: 0, 3: 1, 4: 2, 5: 3, 6: 4}
    assert x[:, 30:36].argmax(axis=1).tolist() == [sp.get(h, 5) for h in atoms[:, 6]]
    assert np.array_equal(x[:, 36:], atoms[:, 7:9])
    assert (x[:, :36].sum(axis=1) == 5).all()
    begin = 0
    for links, data in zip(train["links"], theirs, strict=True):
        once = (data.edge_index[0] < data.edge_index[1]).numpy()
        pairs = data.edge_index.numpy().T[once]
        order = np.lexsort((pairs[:, 1], pairs[:, 0]))
        assert train["edges"][begin : begin + links].tolist() == pairs[order].tolist()
        known = data.edge_attr.numpy()[once][order]
        own = train["edge_x"][begin : begin + links]
        kinds = {1: 0, 2: 1, 3: 2, 12: 3}
        assert own[:, :5].argmax(axis=1).tolist() == [kinds[k] for k in known[:, 0]]
        assert own[:, 5].tolist() == known[:, 2].tolist()
        begin += links


def test_groups_are_scaffolds(tmp_path: Path) -> None:
    found = load_dataset(table(tmp_path, ASPIRIN, "CCO", "Cc1ccccc1", "C1CCCC1CC(N)c1ccncc1"))
    assert found.groups is not None
    assert found.groups.tolist() == ["c1ccccc1", "", "c1ccccc1", "c1cc(CCC2CCCC2)ccn1"]


def test_what_cannot_be_read_is_refused_or_skipped(tmp_path: Path, caplog, capfd) -> None:
    source = table(tmp_path, "CC", "C1CC", "", "c1cc", "CO", "C(C)(C)(C)(C)C")
    with pytest.raises(BadInput) as caught:
        load_dataset(source)
    said = "4 of 6 molecules cannot be read: row 2 ('C1CC'), row 3 (''), row 4 ('c1cc'), ..."
    assert said in str(caught.value) and "\n" not in str(caught.value)
    found = load_dataset(f"{source}&skip=true")
    assert found.train["nodes"].tolist() == [2, 2] and found.train["y"].tolist() == [0, 0]
    assert f"{said}; left out" in caplog.text
    assert capfd.readouterr().err == ""  # rdkit's own words


@pytest.mark.parametrize(
    ("tail", "label", "said"),
    [
        ("?smiles=molecules", None, "no SMILES column 'molecules'; .*did you mean 'molecule'"),
        ("?smiles=molecule", "toxic", "no label column 'toxic'; name it with data.label"),
        ("?smiles=molecule&skip=yes", None, "skip 'yes' is not true or false"),
        ("?smiles=molecule&text=molecule", None, "unknown option 'text'"),
    ],
)
def test_bad_options(tmp_path: Path, tail: str, label: str | None, said: str) -> None:
    table(tmp_path, "CC")
    with pytest.raises(BadInput, match=said):
        load_dataset(f"{tmp_path / 'drugs.csv'}{tail}", label=label)


def test_without_rdkit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *rest, **more):
        if name.split(".")[0] == "rdkit":
            raise ImportError("No module named 'rdkit'")
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(BadInput, match=r"pip install umbel\[graph\]"):
        load_dataset(table(tmp_path, "CC"))


def sdf(path: Path, *molecules: tuple[str, str]) -> None:
    from rdkit import Chem

    with Chem.SDWriter(str(path)) as writer:
        for smiles, kind in molecules:
            mol = Chem.MolFromSmiles(smiles)
            if kind:
                mol.SetProp("kind", kind)
            writer.write(mol)


def test_sdf_files_of_train_and_test(tmp_path: Path) -> None:
    sdf(tmp_path / "train.sdf", (ASPIRIN, "low"), ("CCO", "high"), ("CC", ""))
    sdf(tmp_path / "test.sdf", ("CCN", "high"))
    found = load_dataset(str(tmp_path), label="kind")
    assert found.name == tmp_path.name and found.schema.classes == ("high", "low")
    assert found.train["y"].tolist() == [1, 0, -1] and found.train["nodes"].tolist() == [13, 3, 2]
    assert found.test is not None and found.test["y"].tolist() == [0]
    same = load_dataset(table(tmp_path, ASPIRIN, "CCO", "CC"))
    assert all(np.array_equal(same.train[name], found.train[name]) for name in ("x", "edge_x"))


def test_bad_sdf_files(tmp_path: Path) -> None:
    path = tmp_path / "a.sdf"
    sdf(path, ("CC", "x"))
    with pytest.raises(BadInput, match="no molecule has a property 'kinds'; .*did you mean 'kind'"):
        load_dataset(str(path), label="kinds")
    path.write_text(path.read_text() + "a\nb\nc\nd\ne\n$$$$\n")
    with pytest.raises(BadInput, match="1 of 2 molecules cannot be read: molecule 2;"):
        load_dataset(str(path), label="kind")
    assert len(load_dataset(f"{path}?skip=true", label="kind").train["y"]) == 1
    path.write_text("")
    with pytest.raises(BadInput, match="holds no molecules"):
        load_dataset(str(path), label="kind")


def test_scaffolds_are_dealt_whole_largest_first() -> None:
    groups = np.array(list("ababaecbddaca"))  # 5 a, 3 b, 2 c, 2 d, 1 e
    pool = Pool(np.zeros(13, np.int64), clients=2, seed=0, classes=1, groups=groups)
    rows = registry.build("partitioner", "scaffold", {}, pool)
    # a; b; c to b's (3 of them, against 5); d: 5 and 5, to the first; e to the one with 5.
    assert "".join(groups[rows(0)]) == "aaaddaa" and "".join(groups[rows(1)]) == "bbecbc"
    again = Pool(pool.labels, 2, 77, 1, groups)
    assert np.array_equal(registry.build("partitioner", "scaffold", {}, again)(0), rows(0))


@pytest.mark.parametrize(
    ("groups", "said"),
    [(None, "these data have no scaffolds"), (["a", "b", "a"], "3 clients but only 2 scaffolds")],
)
def test_scaffold_refuses(groups: list[str] | None, said: str) -> None:
    named = None if groups is None else np.array(groups)
    with pytest.raises(BadInput, match=said):
        registry.build("partitioner", "scaffold", {}, Pool(np.zeros(3, int), 3, 0, 1, named))


def test_the_bundled_molecules() -> None:
    found = carried("bbbp")
    assert np.bincount(found.train["y"]).tolist() == [479, 1560]
    assert found.schema.classes == ("impermeable", "permeable") and found.schema.edge_width == 7
    told = Experiment(data={"source": "bbbp", "clients": 4, "partition": "scaffold"})
    shards = make_shards(told, found)
    sizes = [len(shards.shard(k)) for k in range(4)]
    assert sum(sizes) == 2039 and max(sizes) - min(sizes) <= 1


def test_solubility_has_its_official_split() -> None:
    found = carried("solubility")
    assert found.test is not None
    assert [np.bincount(part["y"]).tolist() for part in (found.train, found.test)] == [
        [417, 402, 206],
        [102, 115, 40],
    ]
