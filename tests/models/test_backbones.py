"""torchvision's models as backbones."""

from __future__ import annotations

import warnings

import pytest
import torch

import umbel
from umbel import registry
from umbel.errors import BadInput
from umbel.experiment import Experiment
from umbel.models.weights import put_weights
from umbel.schema import Schema

models = pytest.importorskip("torchvision.models")

COLOUR = Schema("classification", (16, 16, 3), "uint8", ("a", "b", "c"))
GREY = Schema("classification", (16, 16), "uint8", ("a", "b", "c"))


def build(name: str, schema: Schema = COLOUR, **parameters):
    torch.manual_seed(3)
    return registry.build("model", f"torchvision.models:{name}", parameters, schema)


@pytest.mark.parametrize(
    ("name", "replaced"),
    [
        ("resnet18", "fc"),
        ("vgg11", "classifier.6"),
        ("densenet121", "classifier"),
        ("mobilenet_v3_small", "classifier.3"),
        ("vit_b_16", "heads.head"),
    ],
)
def test_the_output_layer_is_found_without_a_table(name, replaced):
    with torch.device("meta"):
        make = models.get_model(name, weights=None)
    layers = dict(make.named_modules())
    assert isinstance(layers[replaced], torch.nn.Linear)
    model = build(name)
    assert model.replaced == replaced
    assert model.head.in_features == layers[replaced].in_features


def test_scores_are_those_of_the_architecture_itself():
    model = build("resnet18")
    torch.manual_seed(3)
    own = models.resnet18(weights=None)
    own.load_state_dict({**own.state_dict(), **model.body.state_dict()})
    own.fc = model.head
    images = torch.rand(2, 3, 16, 16)
    shown = torch.nn.functional.interpolate(images, (224, 224), mode="bilinear", antialias=True)
    mean = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
    deviation = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
    with torch.no_grad():
        expected = own.eval()((shown - mean) / deviation)
        assert torch.equal(model.eval()(images), expected)


def test_the_librarys_own_file_of_weights_fits(tmp_path):
    torch.manual_seed(5)
    own = models.resnet18(weights=None)
    torch.save(own.state_dict(), tmp_path / "resnet18.pth")
    model = build("resnet18")
    put_weights(model, tmp_path / "resnet18.pth")
    mine = model.body.state_dict()
    assert all(torch.equal(mine[n], v) for n, v in own.state_dict().items() if n in mine)
    assert len(mine) == len(own.state_dict()) - 2
    torch.save(models.resnet34(weights=None).state_dict(), tmp_path / "resnet34.pth")
    with pytest.raises(BadInput, match="another depth or variant"):
        put_weights(model, tmp_path / "resnet34.pth")


def test_images_of_another_number_of_channels_are_refused_or_repeated():
    with pytest.raises(BadInput, match=r"3 channels, but an example has 1; set model\.channels"):
        build("resnet18", GREY)
    model = build("resnet18", GREY, channels="repeat", size=64).eval()
    grey = torch.rand(2, 1, 16, 16)
    with torch.no_grad():
        assert torch.equal(model(grey), model(grey.expand(-1, 3, -1, -1)))


def test_what_does_not_fit_is_named():
    with pytest.raises(BadInput, match=r"no linear layer 'classifer'; did you mean|valid: fc"):
        build("resnet18", head="classifer")
    with pytest.raises(BadInput, match="torchvision has no 'resnet19'; did you mean 'resnet1"):
        build("resnet19")
    with pytest.raises(BadInput, match="no linear layer that could be made anew"):
        build("squeezenet1_0")
    with pytest.raises(BadInput, match="model.size: -5 is not at least 1"):
        build("resnet18", size=-5)
    with pytest.raises(BadInput, match="model.size: the architecture takes no images of 64 pixels"):
        build("vit_b_16", size=64)
    with pytest.raises(BadInput, match="takes images"):
        build("resnet18", Schema("classification", (7,), "float32", ("a", "b")))


def test_an_architecture_with_more_output_layers_learns():
    """In training it gives what each of them says."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = build("googlenet", size=64)
    scores = model.train()(torch.rand(2, 3, 16, 16))
    scores.sum().backward()
    assert scores.shape == (2, 3) and model.body.conv1.conv.weight.grad is not None


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (
            {"name": "torchvision.models:mobilenet_v3_small", "head": "classifier.0"},
            "model: it cannot take the examples, .*; see whether its settings",
        ),
        ({"name": "backbones_of_ones_own:Bare"}, "needs a model with a method `features`"),
        ({"name": "backbones_of_ones_own:Wide"}, r"gives \(2, 4\), not \(2, 10\): a score for"),
        ({"name": "backbones_of_ones_own:Deep"}, "head is a Sequential.* needs one linear layer"),
    ],
)
def test_what_a_model_cannot_do_is_said_before_a_run(tmp_path, settings, said, monkeypatch):
    (tmp_path / "backbones_of_ones_own.py").write_text(OWN)
    monkeypatch.syspath_prepend(str(tmp_path))
    if "mobilenet" in settings["name"]:
        settings = {**settings, "channels": "repeat", "size": 32}
    told = Experiment(
        experiment={"rounds": 1},
        data={"source": "digits", "clients": 2},
        model=settings,
        paradigm={"name": "probe" if "Deep" in settings["name"] else "finetune"},
    )
    with pytest.raises(BadInput, match=said):
        umbel.simulate(told, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


OWN = """
from torch import nn

class Bare(nn.Module):
    def __init__(self, schema):
        super().__init__()
        self.body, self.head = nn.Sequential(nn.Flatten(), nn.Linear(64, 8)), nn.Linear(8, 10)

    def forward(self, inputs):
        return self.head(self.body(inputs))

class Wide(Bare):
    def __init__(self, schema):
        super().__init__(schema)
        self.head = nn.Linear(8, 4)

    def features(self, inputs):
        return self.body(inputs)

class Deep(Bare):
    def __init__(self, schema):
        super().__init__(schema)
        self.head = nn.Sequential(nn.Linear(8, 10))

    def features(self, inputs):
        return self.body(inputs)
"""
