"""`umbel export`: what others load gives what the run's model gives."""

from __future__ import annotations

import json
import re
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import umbel as package
from umbel.building import build_model, build_paradigm
from umbel.data import load_dataset
from umbel.data.tensors import to_inputs
from umbel.errors import BadInput
from umbel.experiment import Experiment
from umbel.exporting import graph
from umbel.exporting.run import export
from umbel.exporting.usage import literal, without_folders
from umbel.models.weights import put_weights
from umbel.tensors import read_tensors

onnxruntime = pytest.importorskip("onnxruntime", reason="the extra `dev` is not installed")


def experiment(**sections) -> Experiment:
    sections.setdefault("model", {"name": "mlp", "hidden": [12], "batch_norm": True})
    sections.setdefault("data", {"source": "digits", "clients": 2})
    return Experiment(experiment={"name": "mine", "rounds": 2, "seed": 3}, **sections)


def trained(told: Experiment, folder) -> torch.nn.Module:
    """The model of a run as the run itself has it, adapters and all."""
    data = load_dataset(told.data.source, label=told.data.label)
    model = build_model(build_paradigm(told), told, data.schema)
    model.load_state_dict(read_tensors(folder / "model.safetensors")[0])
    return model.eval()


def scores_of(folder, inputs: torch.Tensor) -> np.ndarray:
    session = onnxruntime.InferenceSession(folder / "model.onnx")
    [scores] = session.run(["scores"], {"inputs": inputs.numpy()})
    return scores


def run_the_cards_code(folder, monkeypatch) -> list[dict]:
    """Run each block of code of a model card in its folder."""
    monkeypatch.chdir(folder)
    card = (folder / "README.md").read_text("utf-8")
    found: list[dict] = []
    for code in re.findall(r"```python\n(.*?)```", card, re.DOTALL):
        names: dict = {}
        exec(code, names)
        found.append(names)
    return found


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run with low-rank adapters."""
    pytest.importorskip("peft", reason="the extra `text` is not installed")
    folder = tmp_path_factory.mktemp("runs") / "lora"
    paradigm = {"name": "finetune", "train": {"name": "lora", "rank": 2}}
    told = experiment(paradigm=paradigm, client={"optimizer": {"name": "adam", "lr": 0.02}})
    package.simulate(told, out=folder)
    return folder


def test_adapters_are_merged_and_every_file_gives_the_runs_scores(
    run, umbel, tmp_path, monkeypatch
):
    code, out, err = umbel("export", run, "--out", "model")
    assert (code, out, err) == (0, "model\n", "")
    told = package.load(run / "experiment.toml")
    inputs = to_inputs(load_dataset("digits").train["x"][:50], load_dataset("digits").schema)
    before = trained(told, run)
    assert any("lora_B" in name and value.any() for name, value in before.state_dict().items())
    plain = experiment()
    after = build_model(build_paradigm(plain), plain, load_dataset("digits").schema)
    after.load_state_dict(load_file(tmp_path / "model" / "model.safetensors"))
    with torch.no_grad():
        expected = before(inputs)
        torch.testing.assert_close(after.eval()(inputs), expected, atol=1e-4, rtol=0)
    for count in (1, 50):
        assert (
            np.abs(scores_of(tmp_path / "model", inputs[:count]) - expected[:count].numpy()).max()
            < 1e-4
        )
    loaded, session = run_the_cards_code(tmp_path / "model", monkeypatch)
    assert loaded["scores"].shape == session["scores"].shape == (1, 10)
    np.testing.assert_allclose(loaded["scores"].detach().numpy(), session["scores"], atol=1e-4)


def test_a_forest_over_a_backbone_is_read_as_the_card_says(umbel, tmp_path, monkeypatch):
    told = experiment(paradigm={"name": "forest", "trees": 5, "depth": 3}, strategy="pool")
    package.simulate(told, out=tmp_path / "run")
    assert umbel("export", "run", "--out", "model")[0] == 0
    loaded, session = run_the_cards_code(tmp_path / "model", monkeypatch)
    np.testing.assert_allclose(loaded["scores"].numpy(), session["scores"], atol=1e-4)
    assert torch.equal(
        loaded["model"].head.leaf, trained(told, tmp_path / "run").get_submodule("head").leaf
    )


def test_the_exported_model_starts_another_experiment(run, tmp_path):
    weights = export(run, tmp_path / "model", onnx=False) / "model.safetensors"
    assert not (tmp_path / "model" / "model.onnx").exists()
    told = experiment(
        model={**dict(experiment().model), **experiment().model.parameters, "weights": str(weights)}
    )
    started = build_model(build_paradigm(told), told, load_dataset("digits").schema)
    assert all(torch.equal(v, load_file(weights)[n]) for n, v in started.state_dict().items())


def test_the_card_tells_the_runs_facts_and_no_clients_or_places(run, tmp_path):
    folder = export(run, tmp_path / "model", onnx=False)
    card = (folder / "README.md").read_text("utf-8")
    told = json.loads((run / "environment.json").read_text())
    last = json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])
    gain = package.Result.open(run).gain
    assert card.startswith("---\nlicense:") and "- accuracy\n---\n\n# mine\n" in card
    for said in (
        f"accuracy {last['metrics']['federated']['accuracy']:.4f}",
        f"{told['travels_bytes']:,} bytes in {len(told['travels'])} tensors",
        "rounds: 2 of 2",
        "clients: 2",
        "strategy: `fedavg`",
        '`finetune(train = {"name": "lora", "rank": 2})`',
        told["model_sha256"],
        told["versions"]["torch"],
        f"gain over training alone: accuracy {gain.mean('alone'):+.4f}, mean of 2 clients",
        f"gain over the untouched model: accuracy {gain.mean('untouched'):+.4f}, mean of 2",
    ):
        assert said in card
    assert not any(name in card for name in (*told["names"], str(tmp_path), str(run)))


def test_a_table_from_a_file_of_ones_own(tmp_path, monkeypatch):
    draw = np.random.default_rng(0)
    lines = [
        f"{a:.3f},{b:.3f},{'high `x`' if a + b > 0 else 'low'}"
        for a, b in draw.normal(size=(80, 2))
    ]
    (tmp_path / "secret.csv").write_text("age,weight,label\n" + "\n".join(lines))
    data = {"source": str(tmp_path / "secret.csv"), "clients": 2}
    told = experiment(data=data, model={"name": "mlp", "hidden": [4]})
    package.simulate(told, out=tmp_path / "run")
    folder = export(tmp_path / "run")
    inputs = torch.randn(7, 2)
    with torch.no_grad():
        expected = trained(told, tmp_path / "run")(inputs).numpy()
    assert folder == tmp_path / "run" / "export"
    assert np.abs(scores_of(folder, inputs) - expected).max() < 1e-4
    card = (folder / "README.md").read_text("utf-8")
    assert "secret" not in card and '"high \\u0060x\\u0060"' in card and '"age"' in card
    loaded, _ = run_the_cards_code(folder, monkeypatch)
    assert loaded["classes"] == ["high `x`", "low"]


def test_torchvision_reads_it_by_its_own_names(tmp_path, monkeypatch):
    models = pytest.importorskip("torchvision.models", exc_type=ImportError)
    model = {"name": "torchvision.models:resnet18", "channels": "repeat", "size": 32}
    told = experiment(model=model, paradigm="finetune", evaluation={"federated": False})
    told = told.model_copy(update={"experiment": told.experiment.model_copy(update={"rounds": 1})})
    package.simulate(told, out=tmp_path / "run")
    folder = export(tmp_path / "run", onnx=False)
    own = models.resnet18(weights=None, num_classes=10)
    own.load_state_dict(load_file(folder / "model.safetensors"))
    before = trained(told, tmp_path / "run")
    images = torch.rand(2, 1, 8, 8)
    with torch.no_grad():
        assert torch.equal(own.eval()(before._prepared(images)), before(images))
    [loaded] = run_the_cards_code(folder, monkeypatch)
    assert loaded["scores"].shape == (1, 10)
    again = build_model(build_paradigm(told), told, load_dataset("digits").schema)
    put_weights(again, folder / "model.safetensors")
    assert torch.equal(again.head.weight, before.head.weight)


def test_a_reader_of_texts_brings_its_tokenizer(tmp_path, monkeypatch):
    transformers = pytest.importorskip("transformers", reason="the extra `text` is not installed")
    place = tmp_path / "private-place" / "bert"
    words = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "[MASK]",
        *["a", "good", "bad", "film", "was", "very"],
    ]
    transformers.BertTokenizer(vocab={w: i for i, w in enumerate(words)}).save_pretrained(place)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = transformers.BertConfig(vocab_size=len(words), intermediate_size=8, **sizes)
    transformers.AutoModel.from_config(config).save_pretrained(place)
    rows = [f"{'good' if i % 2 else 'bad'} film {'very ' * (i % 5)}good,{i % 2}" for i in range(40)]
    (tmp_path / "films.csv").write_text("text,label\n" + "\n".join(rows))
    told = experiment(
        data={"source": f"{tmp_path}/films.csv?text=text", "clients": 2},
        model=f"transformers:{place}",
        paradigm={"name": "finetune", "train": {"name": "lora", "rank": 2}},
    )
    package.simulate(told, out=tmp_path / "run")
    folder = export(tmp_path / "run", tmp_path / "model")
    before = trained(told, tmp_path / "run")
    x = load_dataset(told.data.source).train["x"]
    for texts in (x[:1], x[:9]):
        ids = before.encode(texts)
        with torch.no_grad():
            expected = before(ids).numpy()
        assert np.abs(scores_of(folder, ids) - expected).max() < 1e-4
    loaded, _ = run_the_cards_code(folder, monkeypatch)
    with torch.no_grad():
        expected = before(before.encode(np.array(["a text"], np.dtypes.StringDType())))
    torch.testing.assert_close(loaded["scores"], expected, atol=1e-4, rtol=0)
    for file in folder.glob("*.[jm][sd]*"):
        assert "private-place" not in file.read_text("utf-8"), file


def test_what_cannot_be_exported_leaves_nothing(run, umbel, tmp_path, monkeypatch):
    def refused(*arguments) -> str:
        before = sorted(tmp_path.rglob("*"))
        code, out, err = umbel("export", *arguments)
        assert code == 2 and out == "" and len(err.strip().splitlines()) == 1
        assert sorted(tmp_path.rglob("*")) == before
        return err

    assert "no run folder" in refused("nowhere")
    shutil.copytree(run, tmp_path / "copy")
    (tmp_path / "copy" / "model.safetensors").unlink()
    assert "umbel resume copy" in refused("copy")
    assert "is not empty" in refused(run, "--out", tmp_path / "copy")
    monkeypatch.setattr(graph, "find_spec", lambda name: None)
    said = refused(run, "--out", "model")
    assert "pip install 'umbel[onnx]'" in said and "--no-onnx" in said
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)

    def fail(*arguments, **settings):
        raise RuntimeError("no such operator\nand much advice")

    monkeypatch.setattr(torch.onnx, "export", fail)
    with pytest.raises(BadInput, match=r"ONNX \(RuntimeError: no such operator\); .*--no-onnx"):
        export(run, tmp_path / "model")
    assert not (tmp_path / "model").exists() and not list(tmp_path.glob(".model*"))


def test_a_run_of_an_older_umbel_has_no_schema(run, tmp_path):
    shutil.copytree(run, tmp_path / "copy")
    file = tmp_path / "copy" / "environment.json"
    told = json.loads(file.read_text())
    del told["schema"], told["travels_bytes"]
    file.write_text(json.dumps(told))
    folder = export(tmp_path / "copy", onnx=False)
    assert "not recorded, for an older umbel" in (folder / "README.md").read_text("utf-8")
    file.write_text(json.dumps({**told, "runtime": "run"}))
    with pytest.raises(BadInput, match="does not say the examples' shape and classes"):
        export(tmp_path / "copy", tmp_path / "model", onnx=False)


def test_texts_from_others_stay_texts():
    assert eval(literal({'a"`': ["\n", "😀", None, 0.5]})) == {'a"`': ["\n", "😀", None, 0.5]}
    assert without_folders("hf:ylecun/mnist") == "hf:ylecun/mnist"
    assert without_folders("/home/ada/data.csv?label=a/b") == "data.csv"
