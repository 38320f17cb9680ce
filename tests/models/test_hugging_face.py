"""Transformers as backbones: small ones of each kind, made here and read from a folder."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

import umbel
from umbel import registry
from umbel.data.texts import as_texts
from umbel.errors import BadInput
from umbel.experiment import Experiment
from umbel.models.weights import put_weights
from umbel.schema import Schema

transformers = pytest.importorskip("transformers", reason="the extra `text` is not installed")

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "good", "bad", "film", "news", "a", "the"]
TEXTS = ["a good film", "the bad news", "good", "bad the film a film good a bad news the the"]
TWO = Schema("classification", (), "text", ("bad", "good"))
PICTURES = Schema("classification", (8, 8, 3), "uint8", ("a", "b", "c"))
SIZES = {"hidden_size": 16, "num_attention_heads": 2, "num_hidden_layers": 3}


def tokenizer(folder):
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = Tokenizer(models.WordLevel({w: n for n, w in enumerate(WORDS)}, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=words, pad_token="[PAD]")
    fast.save_pretrained(folder)


def text_model(kind, folder, padding=0):
    torch.manual_seed(0)
    if kind == "gpt2":
        config = transformers.GPT2Config(
            n_embd=16,
            n_head=2,
            n_layer=3,
            n_positions=32,
            vocab_size=10,
            bos_token_id=2,
            eos_token_id=3,
        )
    else:
        kinds = {"bert": transformers.BertConfig, "roberta": transformers.RobertaConfig}
        config = kinds[kind](
            **SIZES,
            intermediate_size=24,
            vocab_size=10,
            max_position_embeddings=32,
            pad_token_id=padding,
        )
    transformers.AutoModel.from_config(config).save_pretrained(folder)
    tokenizer(folder)


def image_model(kind, folder):
    torch.manual_seed(0)
    if kind == "vit":
        config = transformers.ViTConfig(**SIZES, intermediate_size=24, image_size=16, patch_size=8)
    else:
        config = transformers.ResNetConfig(
            embedding_size=4, hidden_sizes=[4, 8], depths=[1, 1], layer_type="basic"
        )
    transformers.AutoModel.from_config(config).save_pretrained(folder)
    told = {"size": {"height": 16, "width": 16}, "image_mean": [0.5] * 3, "image_std": [0.25] * 3}
    (folder / "preprocessor_config.json").write_text(json.dumps(told))


def build(folder, schema, **parameters):
    return registry.build("model", f"transformers:{folder}", parameters, schema)


@pytest.mark.parametrize("kind", ["bert", "roberta", "gpt2"])
@pytest.mark.parametrize("pooling", ["mean", "first", "last"])
def test_a_text_has_the_same_features_alone_and_among_longer_ones(tmp_path, kind, pooling):
    text_model(kind, tmp_path)
    model = build(tmp_path, TWO, pooling=pooling).eval()
    together = model.features(model.encode(as_texts(TEXTS)))
    assert together.shape == (4, 16)
    for text, features in zip(TEXTS, together, strict=True):
        alone = model.features(model.encode(as_texts([text])))
        torch.testing.assert_close(alone[0], features, atol=1e-5, rtol=1e-4)


def test_features_are_the_mean_of_the_librarys_own_states(tmp_path):
    text_model("bert", tmp_path)
    model = build(tmp_path, TWO).eval()
    theirs = transformers.AutoModel.from_pretrained(tmp_path).eval()
    ids = torch.tensor([[8, 4, 6]])
    with torch.no_grad():
        expected = theirs(ids).last_hidden_state.mean(dim=1)
        found = model.features(model.encode(as_texts(["a good film"])))
    torch.testing.assert_close(found, expected)


def test_a_long_text_is_cut_and_an_empty_one_is_read(tmp_path):
    text_model("bert", tmp_path)
    model = build(tmp_path, TWO, length=4).eval()
    assert model.encode(as_texts(["", *TEXTS])).shape == (5, 4)
    assert torch.isfinite(model.features(model.encode(as_texts([""])))).all()
    assert model.encode(as_texts([])).shape == (0, 1)


@pytest.mark.parametrize(("kind", "most"), [("bert", 32), ("roberta", 30)])
def test_the_longest_text_is_what_the_architecture_has_places_for(tmp_path, kind, most):
    """RoBERTa's places begin after that of padding."""
    text_model(kind, tmp_path, padding=0 if kind == "bert" else 1)
    model = build(tmp_path, TWO).eval()
    tokens = model.encode(as_texts(["good " * 50, "bad"]))
    assert tokens.shape == (2, most)
    assert torch.isfinite(model(tokens)).all()


@pytest.mark.parametrize("whole", [False, True])
def test_the_librarys_own_file_of_weights_fits(tmp_path, whole):
    """As `AutoModel` saves it, with the pooler that umbel leaves out, or a model for some task."""
    text_model("bert", tmp_path / "new")
    config = transformers.AutoConfig.from_pretrained(tmp_path / "new")
    torch.manual_seed(9)
    made = transformers.AutoModelForMaskedLM if whole else transformers.AutoModel
    own = made.from_config(config)
    own.save_pretrained(tmp_path / "own")
    model = build(tmp_path / "new", TWO)
    put_weights(model, tmp_path / "own" / "model.safetensors")
    theirs = (own.bert if whole else own).state_dict()
    assert all(torch.equal(value, theirs[n]) for n, value in model.body.state_dict().items())


def test_an_architecture_alone_is_of_single_precision(tmp_path):
    text_model("bert", tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "dtype": "bfloat16"}))
    model = build(tmp_path, TWO, pretrained=False)
    assert {value.dtype for value in model.parameters()} == {torch.float32}


def test_without_its_weights_the_architecture_alone_is_kept(tmp_path):
    text_model("bert", tmp_path)
    trained = transformers.AutoModel.from_pretrained(tmp_path).state_dict()
    name = "encoder.layer.0.attention.self.query.weight"
    kept, anew = build(tmp_path, TWO), build(tmp_path, TWO, pretrained=False)
    assert torch.equal(kept.body.state_dict()[name], trained[name])
    assert not torch.equal(anew.body.state_dict()[name], trained[name])


@pytest.mark.parametrize(("kind", "width"), [("vit", 16), ("resnet", 8)])
def test_images_come_to_the_models_size_and_normalisation(tmp_path, kind, width):
    image_model(kind, tmp_path)
    model = build(tmp_path, PICTURES).eval()
    inputs = torch.rand(2, 3, 16, 16)
    theirs = transformers.AutoModel.from_pretrained(tmp_path).eval()
    with torch.no_grad():
        states = theirs((inputs - 0.5) / 0.25).last_hidden_state
        expected = states[:, 0] if kind == "vit" else states.mean(dim=(2, 3))
        torch.testing.assert_close(model.features(inputs), expected)
        assert model(torch.rand(2, 3, 8, 8)).shape == (2, 3)
    assert model.head.in_features == width


@pytest.mark.parametrize(
    "train", ["head", "all", 1, "norms", {"name": "gradual"}, {"name": "lora", "rank": 2}]
)
def test_everything_trained_gets_a_gradient_and_learns(tmp_path, train):
    text_model("bert", tmp_path / "bert")
    (tmp_path / "texts.csv").write_text(
        "label,text\n"
        + "".join(
            f"{'good' if n % 2 else 'bad'},the {'good' if n % 2 else 'bad'} film\n"
            for n in range(40)
        )
    )
    told = Experiment(
        experiment={"rounds": 3, "seed": 1},
        data={"source": f"{tmp_path / 'texts.csv'}?text=text", "clients": 2},
        model={"name": f"transformers:{tmp_path / 'bert'}"},
        paradigm={"name": "finetune", "train": train},
        client={"epochs": 2, "batch_size": 4, "optimizer": {"name": "adam", "lr": 0.01}},
    )
    result = umbel.simulate(told, out=tmp_path / "run")
    assert result.records[-1]["loss"] < 0.75 * result.records[0]["loss"]
    assert not any("pooler" in name for name in result.model)


@pytest.mark.parametrize(
    ("make", "schema", "parameters", "said"),
    [
        ("bert", PICTURES, {}, "cannot be read here: .*; give a folder, or get it first"),
        ("bert", TWO, {"length": 0}, "model.length: 0 is not at least 1"),
        ("bert", TWO, {"pooling": "max"}, "pooling: must be 'mean', 'first' or 'last'"),
        ("vit", TWO, {}, "cannot be read here"),
        ("vit", Schema("classification", (8, 8), "uint8", ("a",)), {}, "set model.channels"),
        ("nothing", TWO, {}, "cannot be read here"),
    ],
)
def test_what_does_not_fit_is_one_line(tmp_path, make, schema, parameters, said):
    if make == "vit":
        image_model(make, tmp_path)
    elif make == "bert":
        text_model(make, tmp_path)
    with pytest.raises(BadInput, match=said) as refused:
        build(tmp_path, schema, **parameters)
    assert "\n" not in str(refused.value)


def test_a_pickle_is_not_read(tmp_path):
    text_model("bert", tmp_path)
    weights = transformers.AutoModel.from_pretrained(tmp_path).state_dict()
    (tmp_path / "model.safetensors").unlink()
    torch.save(weights, tmp_path / "pytorch_model.bin")
    with pytest.raises(BadInput, match="safetensors"):
        build(tmp_path, TWO)


class TestMiniLM:
    """The real one, where `umbel data fetch minilm` has put it."""

    @pytest.fixture
    def told(self, tmp_path):
        try:
            registry.build("model", "minilm", {}, TWO)
        except BadInput as missing:
            pytest.skip(str(missing))
        rows = [f"{'good' if n % 2 else 'bad'},{TEXTS[n % 2]} number {n}\n" for n in range(24)]
        (tmp_path / "texts.csv").write_text("label,text\n" + "".join(rows))
        return Experiment(
            experiment={"rounds": 2, "seed": 1},
            data={"source": f"{tmp_path / 'texts.csv'}?text=text", "clients": 2},
            model={"name": "minilm", "length": 16},
            paradigm={"name": "finetune", "train": "lora"},
            client={"steps": 1, "batch_size": 4},
            evaluation={"federated": False},
        )

    def test_adapters_of_rank_8_send_less_than_2_percent(self, told, tmp_path):
        result = umbel.simulate(told, out=tmp_path / "run")
        plain = sum(v.numel() for n, v in result.model.items() if "lora" not in n)
        assert plain > 22_000_000
        for record in result.records:
            assert record["bytes_up"] / 2 < 0.02 * 4 * plain
            assert record["bytes_down"] / 2 < 0.02 * 4 * plain

    def test_the_layers_that_do_not_exist_are_told_with_the_nearest(self, told, tmp_path):
        paradigm = told.paradigm.model_copy(update={"train": {"name": "lora", "targets": ["qery"]}})
        with pytest.raises(BadInput, match="'qery'; did you mean 'query'"):
            umbel.simulate(told.model_copy(update={"paradigm": paradigm}), out=tmp_path / "run")

    def test_it_tells_texts_apart_as_its_makers_say(self):
        model = registry.build("model", "minilm", {}, TWO).eval()
        texts = ["The cat sits outside", "A feline rests outdoors", "The bank raised its rates"]
        with torch.no_grad():
            features = model.features(model.encode(as_texts(texts)))
        near, far = torch.cosine_similarity(features[0], features[1:])
        assert near > 0.5 > 0.2 > far
        assert np.isfinite(features.numpy()).all()
