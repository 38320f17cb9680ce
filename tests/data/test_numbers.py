"""Numbers in place of classes, of nodes and graphs in files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from graph_folder import folder
from safetensors.numpy import load_file

from umbel.data import load_dataset, read_shard
from umbel.errors import BadInput

NODES = "id,age,label,role\n007,1,0.5,train\n7,2.5,,\nc,3,-2,test\nd,4,1e3,val\n"
EDGES = "source,target\nc,007\nc,d\n"
SET_NODES = "graph_id,id,mass\ng2,a,1\ng1,a,2\ng2,b,3\ng1,c,4\n"
GRAPHS = "graph_id,label\ng1,0.25\ng2,\n"


def numbers(path: Path, **tables: str) -> str:
    return f"{folder(path, **tables)}?numbers=true"


def test_of_nodes(tmp_path: Path) -> None:
    source = numbers(tmp_path / "net", nodes=NODES, edges=EDGES)
    found = load_dataset(source)
    assert found.schema.task == "node-regression" and found.schema.classes == ()
    assert found.schema.features == ("age",)
    np.testing.assert_array_equal(found.train["target"], np.float32([0.5, np.nan, -2, 1000]))
    assert found.train["y"].tolist() == [-1] * 4 and found.train["role"].tolist() == [0, 255, 2, 1]
    own = read_shard(source, classes=[])
    np.testing.assert_array_equal(own.arrays["target"], found.train["target"])
    # Without the option they are names of classes, as ever.
    assert load_dataset(source.partition("?")[0]).schema.classes == ("-2", "0.5", "1e3")


@pytest.mark.parametrize("told", ["graphs", "nodes"])
def test_of_graphs(tmp_path: Path, told: str) -> None:
    tables = {"nodes": SET_NODES, "graphs": GRAPHS}
    if told == "nodes":
        lines = zip(SET_NODES.split(), ("label", "", "0.25", "", "0.25"), strict=True)
        tables = {"nodes": "\n".join(map(",".join, lines)) + "\n"}
    found = load_dataset(numbers(tmp_path, **tables))
    assert found.schema.task == "graph-regression" and found.schema.classes == ()
    truth = [0.25, np.nan] if told == "graphs" else [np.nan, 0.25]
    np.testing.assert_array_equal(found.train["target"], np.float32(truth))
    assert found.train["nodes"].tolist() == [2, 2] and "graph_id" not in found.schema.features


def test_of_molecules(tmp_path: Path) -> None:
    chem = pytest.importorskip("rdkit.Chem", reason="the extra `graph` is not installed")
    table = tmp_path / "drugs.csv"
    table.write_text("smiles,label\nCCO,-0.77\nCC,\nnonsense,1\nC,3\n")
    found = load_dataset(f"{table}?smiles=smiles&numbers=true&skip=true")
    assert found.schema.task == "graph-regression" and found.train["nodes"].tolist() == [3, 2, 1]
    np.testing.assert_array_equal(found.train["target"], np.float32([-0.77, np.nan, 3]))
    assert found.groups is not None and len(found.groups) == 3
    with chem.SDWriter(str(tmp_path / "drugs.sdf")) as writer:
        for smiles, number in (("CCO", "1.5"), ("CC", "")):
            molecule = chem.MolFromSmiles(smiles)
            if number:
                molecule.SetProp("label", number)
            writer.write(molecule)
    read = load_dataset(f"{tmp_path / 'drugs.sdf'}?numbers=true").train["target"]
    np.testing.assert_array_equal(read, np.float32([1.5, np.nan]))


@pytest.mark.parametrize(
    ("tables", "said"),
    [
        (
            {"nodes": NODES.replace("1e3", "far")},
            r"nodes\.csv: row 4: 'label' is 'far', not a finite number; leave it empty where",
        ),
        ({"nodes": NODES.replace("-2", "nan")}, r"nodes\.csv: row 3: 'label' is 'nan', not a fin"),
        ({"nodes": NODES.replace("-2", "1e39")}, r"row 3: 'label' is '1e39', not a finite number"),
        ({"nodes": SET_NODES, "graphs": GRAPHS + "g3,x\n"}, r"graphs\.csv: row 3: 'label' is 'x'"),
        (
            {"nodes": "graph_id,id,m,label\ng,a,1,0.5\ng,b,2,0.75\n"},
            r"nodes\.csv: 1 of 1 graphs have nodes of more than one label: g; give each graph's",
        ),
        (
            {"nodes": "graph_id,id,m,label\ng,a,1,0.5\ng,b,2,x\n"},
            r"nodes\.csv: row 2: 'label' is 'x', not a finite number",
        ),
    ],
)
def test_bad_numbers(tmp_path: Path, tables: dict[str, str], said: str) -> None:
    with pytest.raises(BadInput, match=said):
        load_dataset(numbers(tmp_path, **tables))


def test_a_bad_option(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="numbers 'yes' is not true or false"):
        load_dataset(numbers(tmp_path, nodes=NODES).replace("true", "yes"))


def experiment(path: Path, source: str, **keys: str) -> str:
    """An experiment file over a source, with one key of each section changed or added."""
    sections = {
        "experiment": "rounds = 3\nseed = 2",
        "data": f'source = "{source}"\nclients = 1\nheld_out = 0.3',
        "model": 'name = "node-mlp"\nlayers = 1\ndrop = 0.0',
        "paradigm": 'name = "nodes"',
        "client": 'steps = 40\nbatch_size = 0\noptimizer = { name = "adam", lr = 0.05 }',
    }
    text = "".join(f"[{name}]\n{keys.get(name, body)}\n" for name, body in sections.items())
    path.write_text(text)
    return str(path)


def test_nodes_from_the_command(umbel, tmp_path: Path) -> None:
    """A model that looks at no neighbour, whose error on the nodes held out is worked out here."""
    pytest.importorskip("torch_geometric", reason="the extra `graph` is not installed")
    generator = np.random.default_rng(0)
    x = generator.normal(size=(90, 2))
    y = x @ [1.0, -2.0] + 0.5
    roles = np.repeat(["train", "test"], [60, 30])
    cells = ["" if row % 9 == 0 else f"{y[row]:.6f}" for row in range(90)]
    rows = (f"{k},{x[k, 0]:.6f},{x[k, 1]:.6f},{cells[k]},{roles[k]}" for k in range(90))
    source = numbers(tmp_path / "net", nodes="\n".join(["id,a,b,label,role", *rows]) + "\n")
    file = experiment(tmp_path / "numbers.toml", source)
    code, out, _ = umbel("simulate", file, "--out", str(tmp_path / "run"), "--json")
    assert code == 0
    metrics = json.loads(out.splitlines()[-1])["metrics"]
    weights = load_file(tmp_path / "run" / "model.safetensors")
    [matrix] = [value for value in weights.values() if value.ndim == 2]
    [bias] = [value for value in weights.values() if value.ndim == 1]
    held = [k for k in range(60, 90) if cells[k]]
    apart = np.abs(x[held] @ matrix.T.astype(float)[:, 0] + bias - y[held])
    assert metrics["federated_examples"] == len(held) == 27
    assert metrics["federated_mean_absolute_error"] == pytest.approx(apart.mean(), abs=1e-4)
    assert metrics["federated_mean_absolute_error"] < 0.3 < np.abs(y[held]).mean()
    assert "federated_accuracy" not in metrics


def test_molecules_from_the_command(umbel, tmp_path: Path) -> None:
    """How many atoms they have."""
    for package in ("torch_geometric", "rdkit"):
        pytest.importorskip(package, reason="the extra `graph` is not installed")
    rows = "".join(f"{'C' * (1 + k % 8)}{'O' * (k % 2)},{1 + k % 8 + k % 2}\n" for k in range(64))
    (tmp_path / "drugs.csv").write_text(f"smiles,atoms\n{rows}")
    file = experiment(
        tmp_path / "molecules.toml",
        f"{tmp_path / 'drugs.csv'}?smiles=smiles&numbers=true",
        data=f'source = "{tmp_path}/drugs.csv?smiles=smiles&numbers=true"\nlabel = "atoms"\n'
        "clients = 2\nheld_out = 0.3",
        model='name = "gin"\nhidden = 16\ndrop = 0.0',
        paradigm='name = "graphs"',
    )
    code, out, _ = umbel("simulate", file, "--out", str(tmp_path / "run"), "--json")
    assert code == 0
    metrics = json.loads(out.splitlines()[-1])["metrics"]
    assert metrics["federated_mean_absolute_error"] < 1.0, "without learning it is above 2"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("data.labelled=0.5", "data.labelled: labels are hidden by class, and net has numbers"),
        ("data.labelled_clients=0.5", "data.labelled: labels are hidden by class, and net has"),
        ("paradigm.name=supervised", "paradigm.name: supervised takes no graphs"),
        ("evaluation.confusion=true", "confusion: there are no classes in node-regression"),
    ],
)
def test_what_needs_classes_is_refused(umbel, tmp_path: Path, change: str, said: str) -> None:
    rows = "".join(f"{k},{k % 5},{k / 7:.3f}\n" for k in range(40))
    source = numbers(tmp_path / "net", nodes=f"id,a,label\n{rows}")
    file = experiment(tmp_path / "numbers.toml", source)
    code, _, err = umbel("simulate", file, "--set", change, "--out", str(tmp_path / "run"))
    assert code == 2 and said in " ".join(err.split())
    assert not (tmp_path / "run").exists()
