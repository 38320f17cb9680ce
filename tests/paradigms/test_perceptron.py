"""The gradients written by hand against autograd's."""

import copy

import pytest
import torch
from torch import nn

from umbel.models.reference import cnn, logistic, mlp, two_nn
from umbel.paradigms import Supervised
from umbel.paradigms.perceptron import Perceptron
from umbel.schema import Schema

SCHEMA = Schema("classification", (6, 6), "uint8", tuple("abcde"))

MODELS = {
    "logistic": lambda: logistic(SCHEMA),
    "one hidden layer": lambda: mlp(SCHEMA, hidden=[7]),
    "three hidden layers": lambda: mlp(SCHEMA, hidden=[9, 8, 7]),
    "2nn": lambda: two_nn(SCHEMA),
    "a user's own": lambda: nn.Sequential(
        nn.Flatten(), nn.Linear(36, 4), nn.ReLU(), nn.Linear(4, 5)
    ),
}


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("count", [1, 10])
def test_steps_are_those_of_autograd_and_sgd(name, count):
    torch.manual_seed(0)
    model = MODELS[name]().double()
    reference = copy.deepcopy(model)
    perceptron = Perceptron.of(model)
    perceptron = Perceptron(perceptron.layers, perceptron.identity.double())
    optimizer = torch.optim.SGD(reference.parameters(), lr=0.3)
    for _ in range(5):
        inputs, labels = torch.randn(count, 1, 6, 6).double(), torch.randint(0, 5, (count,))
        loss = nn.functional.cross_entropy(reference(inputs), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        torch.testing.assert_close(perceptron.step(inputs, labels, 0.3), loss.detach())
        for one, other in zip(model.parameters(), reference.parameters(), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


class Twisted(nn.Sequential):
    def forward(self, inputs):
        return -super().forward(inputs)


def hooked():
    model = nn.Sequential(nn.Flatten(), nn.Linear(36, 5))
    model[1].register_forward_hook(lambda module, inputs, output: output * 2)
    return model


def frozen():
    model = mlp(SCHEMA, hidden=[4])
    model.body.requires_grad_(False)
    return model


@pytest.mark.parametrize(
    "model",
    [
        cnn(SCHEMA),
        mlp(SCHEMA, hidden=[4], dropout=0.5),
        nn.Sequential(nn.Linear(36, 4), nn.Tanh(), nn.Linear(4, 5)),
        nn.Sequential(nn.Linear(36, 4), nn.ReLU()),
        nn.Sequential(nn.Linear(36, 5, bias=False)),
        nn.Sequential(),
        Twisted(nn.Linear(36, 5)),
        nn.utils.parametrizations.spectral_norm(nn.Linear(36, 5)),
        hooked(),
        frozen(),
    ],
    ids=lambda model: type(model).__name__,
)
def test_anything_else_is_left_to_autograd(model):
    assert Perceptron.of(model) is None
    assert Supervised(lambda schema: model).descent(model) is None


def test_label_smoothing_is_left_to_autograd():
    paradigm = Supervised(lambda schema: mlp(schema), label_smoothing=0.1)
    assert paradigm.descent(mlp(SCHEMA)) is None
    assert Supervised(lambda schema: mlp(schema)).descent(mlp(SCHEMA)) is not None
