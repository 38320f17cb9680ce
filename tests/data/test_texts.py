"""Texts as examples: read from tables and bundled sets, and written to shards and back."""

from __future__ import annotations

import numpy as np
import pytest

from umbel.data import load_dataset, read_shard
from umbel.errors import BadInput

CSV = (
    'id,label,body\n1,good,"two lines,\nand a comma"\n2,bad,short\n3,,no label\n4,good,naïve 日本\n'
)


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "reviews.csv"
    path.write_text(CSV, encoding="utf-8")
    return path


def test_a_column_of_a_table_is_the_examples(table):
    found = load_dataset(f"{table}?text=body")
    assert found.train["x"].tolist() == [
        "two lines,\nand a comma",
        "short",
        "no label",
        "naïve 日本",
    ]
    assert found.train["y"].tolist() == [1, 0, -1, 1]
    assert (found.schema.dtype, found.schema.shape, found.schema.features) == ("text", (), ())


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("?text=bdy", "no text column 'bdy'; name it with the option text= of the source; did you"),
        ("", "row 1: column 'body' holds .*, not a number; .* or say [?]text=body"),
        ("?txt=body", "unknown option 'txt'; did you mean 'text'"),
    ],
)
def test_a_text_that_is_named_wrongly(table, source, said):
    with pytest.raises(BadInput, match=said):
        load_dataset(f"{table}{source}")


def test_an_example_without_a_text_is_named(tmp_path):
    path = tmp_path / "gap.csv"
    path.write_text("label,body\na,one\nb,\n")
    with pytest.raises(BadInput, match="row 2: column 'body' is empty"):
        load_dataset(f"{path}?text=body")


def test_shards_are_read_back_to_the_same(umbel, table, tmp_path):
    (tmp_path / "exp.toml").write_text(
        f'[data]\nsource = "{table}?text=body"\nclients = 2\n[model]\nname = "minilm"\n'
    )
    code, _, said = umbel("partition", "exp.toml", "--out", "shards")
    assert code == 0, said
    whole = load_dataset(f"{table}?text=body")
    found = [read_shard(tmp_path / "shards" / f"client-{index}") for index in range(2)]
    assert {text for shard in found for text in shard.arrays["x"]} == set(whole.train["x"])
    assert all(shard.schema == whole.schema for shard in found)
    (tmp_path / "shards" / "client-0" / "x.parquet").write_bytes(b"cut short")
    with pytest.raises(BadInput, match="x.parquet: cannot be read: .*; write the shards anew"):
        read_shard(tmp_path / "shards" / "client-0")


def test_a_hub_data_set_saved_to_disk(tmp_path):
    datasets = pytest.importorskip("datasets")
    rows = {"label": ["a", "b"], "sentence": ["one", "and two"], "other": [1.0, 2.0]}
    datasets.Dataset.from_dict(rows).save_to_disk(str(tmp_path / "saved"))
    found = load_dataset(f"hf:{tmp_path / 'saved'}?text=sentence")
    assert found.train["x"].tolist() == rows["sentence"]


def test_a_model_that_reads_no_texts_says_so(umbel, table, tmp_path):
    (tmp_path / "exp.toml").write_text(f'[data]\nsource = "{table}?text=body"\nclients = 2\n')
    code, _, said = umbel("simulate", "exp.toml", "--out", "run")
    assert code == 2 and "the examples are texts; give a model that reads them" in said
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("name", "train", "test", "classes"), [("r8", 5485, 2189, 8), ("r52", 6532, 2568, 52)]
)
def test_reuters(name, train, test, classes):
    """The counts of the official split."""
    found = bundled(name)
    assert (len(found.train["y"]), len(found.test["y"])) == (train, test)
    assert len(found.schema.classes) == classes
    assert np.bincount(found.train["y"], minlength=classes).min() >= 1


def test_newsgroups():
    found = bundled("20newsgroups")
    assert (len(found.train["y"]), len(found.test["y"])) == (11293, 7528)
    assert len(found.schema.classes) == 20


def test_sentences_of_four_domains():
    found = bundled("sentiment")
    names, counts = np.unique(found.groups, return_counts=True)
    told = dict(zip(names.tolist(), counts.tolist(), strict=True))
    assert told == {"tweets": 4200, "movies": 10605, "products": 3708, "news": 5190}
    assert found.schema.classes == ("negative", "positive")
    one = bundled("sentiment?domain=news")
    assert len(one.train["y"]) == 5190
    with pytest.raises(BadInput, match="domain 'film' is none of"):
        load_dataset("sentiment?domain=film")


def bundled(name):
    try:
        return load_dataset(name)
    except BadInput as missing:
        pytest.skip(str(missing))
