"""Trained weights from files, and what is said of those that do not fit."""

from __future__ import annotations

import argparse
import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn

from umbel.errors import BadInput
from umbel.models.reference import mlp
from umbel.models.weights import put_weights, read_weights
from umbel.paradigms.transfer.lora import Lora
from umbel.schema import Schema
from umbel.tensors import write_tensors

TEN = Schema("classification", (8, 8), "uint8", tuple("0123456789"))
TWO = Schema("classification", (8, 8), "uint8", ("even", "odd"))


@pytest.fixture
def trained(tmp_path):
    """A trained model for ten classes, and its file."""
    torch.manual_seed(7)
    model = mlp(TEN, hidden=[16, 12])
    write_tensors(tmp_path / "model.safetensors", model.state_dict())
    return model, tmp_path / "model.safetensors"


def same(one, other, start="") -> bool:
    mine, theirs = one.state_dict(), other.state_dict()
    return all(torch.equal(mine[name], theirs[name]) for name in mine if name.startswith(start))


def test_a_model_of_umbels_is_whole_again(trained):
    model, path = trained
    other = mlp(TEN, hidden=[16, 12])
    put_weights(other, path)
    assert same(model, other)


def test_an_output_layer_for_other_classes_stays_as_it_was_made(trained):
    model, path = trained
    other = mlp(TWO, hidden=[16, 12])
    head = other.head.weight.clone()
    put_weights(other, path)
    assert same(model, other, "body.") and torch.equal(other.head.weight, head)


@pytest.mark.parametrize("wrap", ["plain", "module.", "nested", "backbone"])
def test_the_ways_in_which_training_programs_save(trained, tmp_path, wrap):
    model, _ = trained
    state = model.state_dict()
    if wrap == "module.":
        state = {f"module.{name}": value for name, value in state.items()}
    elif wrap == "nested":
        state = {"epoch": 3, "state_dict": state}
    elif wrap == "backbone":
        state = model.body.state_dict()
    torch.save(state, tmp_path / "weights.pth")
    other = mlp(TEN, hidden=[16, 12])
    put_weights(other, tmp_path / "weights.pth")
    assert same(model, other, "body.")


def test_weights_that_do_not_fit_are_told_with_the_first_three_and_a_cause(trained):
    _, path = trained
    with pytest.raises(BadInput) as caught:
        put_weights(mlp(TEN, hidden=[20, 20]), path)
    said = str(caught.value)
    assert "body.1.weight is (16, 64) instead of (20, 64)" in said
    assert said.count(" instead of ") == 3 and "and 1 more; it is of another width" in said
    with pytest.raises(BadInput, match=r"it has no body\.5\.weight.*another depth"):
        put_weights(mlp(TEN, hidden=[16, 12, 12]), path)
    with pytest.raises(BadInput, match="another architecture: no name is the same"):
        put_weights(nn.Linear(3, 3), path)


def test_a_pickle_is_refused_and_not_run(tmp_path):
    path = tmp_path / "weights.pt"

    class Program:
        def __reduce__(self):
            return (open, (str(tmp_path / "was-run"), "w"))

    path.write_bytes(pickle.dumps({"weight": Program()}))
    with pytest.raises(BadInput, match=r"pickle that would run a program.*convert it.*save_file"):
        read_weights(path)
    torch.save({"weight": Program()}, path)
    with pytest.raises(BadInput, match="pickle that would run a program"):
        read_weights(path)
    assert not (tmp_path / "was-run").exists()


@pytest.mark.parametrize("saved", ["model", "checkpoint", "checkpoint of a model"])
def test_what_is_said_of_a_pickle_converts_it(trained, tmp_path, saved):
    model, _ = trained
    path = tmp_path / "it's a model.pt"
    told = {"state_dict": model.state_dict(), "settings": argparse.Namespace(lr=0.1)}
    whole = {"model": model, "settings": argparse.Namespace(lr=0.1)}
    torch.save({"model": model, "checkpoint": told, "checkpoint of a model": whole}[saved], path)
    with pytest.raises(BadInput) as caught:
        read_weights(path)
    command = str(caught.value).partition('python -c "')[2].removesuffix('"')
    subprocess.run([sys.executable, "-c", command], cwd=tmp_path, check=True)
    other = mlp(TEN, hidden=[16, 12])
    put_weights(other, tmp_path / "weights.safetensors")
    assert same(model, other)


def test_what_only_looks_like_a_pickle_is_not_called_one(tmp_path):
    np.savez(tmp_path / "w.npz", w=np.zeros(3))
    (tmp_path / "w.txt").write_text("abc hello")
    for name in ("w.npz", "w.txt"):
        with pytest.raises(BadInput, match="neither safetensors nor what torch.save wrote"):
            read_weights(tmp_path / name)


def test_numbers_that_are_none_are_refused(trained):
    model, path = trained
    state = model.state_dict()
    state["body.1.bias"][3:5] = torch.nan
    write_tensors(path, state)
    with pytest.raises(BadInput, match=r"body\.1\.bias holds 2 NaN or infinite numbers of 16"):
        put_weights(mlp(TEN, hidden=[16, 12]), path)


def test_a_run_with_adapters_tells_how_they_are_merged(trained, tmp_path):
    model, _ = trained
    Lora(rank=2).prepare(model, set(model.modules()))
    write_tensors(tmp_path / "run.safetensors", model.state_dict())
    with pytest.raises(BadInput, match="adapters beside its weights; umbel export RUN"):
        put_weights(mlp(TEN, hidden=[16, 12]), tmp_path / "run.safetensors")


def test_what_is_no_weights_is_refused(tmp_path):
    with pytest.raises(BadInput, match="no such file"):
        read_weights(tmp_path / "none.safetensors")
    for name in ("bad.safetensors", "bad.pth"):
        (tmp_path / name).write_bytes(b"\x00\x01 hello")
        with pytest.raises(BadInput, match=name):
            read_weights(tmp_path / name)
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(BadInput, match=r"^model\.weights: .*holds a list, and no tensors by name"):
        read_weights(tmp_path / "list.pth")
