"""Distillation and relational distillation: the losses, the teacher's way, and what is refused."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

import umbel
from umbel.errors import BadInput
from umbel.experiment import Experiment
from umbel.paradigms.transfer.distill import TAUGHT, Distill, Relations
from umbel.tensors import read_tensors


class Fixed(torch.nn.Module):
    """A model whose features are what it is given."""

    def __init__(self, head: torch.Tensor) -> None:
        super().__init__()
        self.head = torch.nn.Linear(head.shape[1], head.shape[0], bias=False)
        self.head.weight = torch.nn.Parameter(head)

    def features(self, inputs):
        return inputs

    def forward(self, inputs):
        return self.head(inputs)


def batch(taught):
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(6, 4, generator=generator)
    return {"x": inputs, "y": torch.tensor([0, 1, 2, 0, 1, 2]), TAUGHT: taught}


def test_the_loss_of_hintons_paper():
    """Written out with softmax and logarithms, and its gradient at a high temperature: equation 4."""
    generator = torch.Generator().manual_seed(2)
    taught = torch.randn(6, 3, generator=generator)
    given = batch(taught)
    model = Fixed(torch.randn(3, 4, generator=generator))
    t, share = 3.0, 0.7
    found = Distill(None, temperature=t, share=share).loss(model, given, generator)
    scores = model(given["x"])
    p, q = torch.softmax(taught / t, 1), torch.softmax(scores / t, 1)
    kl = (p * (p.log() - q.log())).sum(1).mean()
    own = -torch.log_softmax(scores, 1)[torch.arange(6), given["y"]].mean()
    torch.testing.assert_close(found, (1 - share) * own + share * t**2 * kl)

    scores = torch.randn(6, 3, generator=generator).requires_grad_()
    far = Distill(None, temperature=1e3, share=1.0).loss(lambda x: scores, given, generator)
    [gradient] = torch.autograd.grad(far, scores)
    centred = (scores - taught).detach()
    centred -= centred.mean(1, keepdim=True)
    torch.testing.assert_close(gradient, centred / (3 * 6), atol=1e-4, rtol=1e-2)


def test_the_losses_of_parks_paper():
    """Equations 5 to 9, one pair and one triplet after another."""
    generator = torch.Generator().manual_seed(3)
    taught = torch.randn(6, 5, generator=generator)
    given = batch(taught)
    model = Fixed(torch.randn(3, 4, generator=generator))
    found = Relations(None, distances=2.0, angles=3.0).loss(model, given, generator)

    def distances(points):
        far = torch.stack([torch.stack([(a - b).norm() for b in points]) for a in points])
        return far / far[far > 0].mean()

    def angles(points):
        def cosine(i, j, k):
            if i == j or k == j:
                return torch.tensor(0.0)
            return torch.cosine_similarity(points[i] - points[j], points[k] - points[j], dim=0)

        n = range(len(points))
        return torch.stack(
            [torch.stack([torch.stack([cosine(i, j, k) for k in n]) for i in n]) for j in n]
        )

    def huber(a, b):
        gap = (a - b).abs()
        return torch.where(gap <= 1, 0.5 * gap**2, gap - 0.5).mean()

    own = torch.nn.functional.cross_entropy(model(given["x"]), given["y"])
    x = given["x"]
    expected = (
        own + 2 * huber(distances(x), distances(taught)) + 3 * huber(angles(x), angles(taught))
    )
    torch.testing.assert_close(found, expected)


def test_points_that_are_the_same_have_a_gradient():
    taught = torch.ones(6, 5)
    given = batch(taught)
    given["x"] = torch.ones(6, 4).requires_grad_()
    model = Fixed(torch.randn(3, 4, generator=torch.Generator().manual_seed(0)))
    Relations(None).loss(model, given, torch.Generator()).backward()
    assert torch.isfinite(given["x"].grad).all()


def experiment(paradigm, weights=None, **sections) -> Experiment:
    teacher = {"name": "mlp", "hidden": [64], "weights": str(weights) if weights else None}
    return Experiment(
        experiment={"rounds": 4, "seed": 3},
        data={"source": "digits", "clients": 5, "labelled": 1.0},
        model={"name": "mlp", "hidden": [8]},
        paradigm=paradigm if isinstance(paradigm, dict) else {"name": paradigm},
        client={"epochs": 2, "batch_size": 16, "optimizer": {"name": "sgd", "lr": 0.1}},
        **({"teacher": teacher} | sections),
    )


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    folder = tmp_path_factory.mktemp("teacher") / "run"
    told = Experiment(
        experiment={"rounds": 10, "seed": 9},
        data={"source": "digits", "clients": 1},
        model={"name": "mlp", "hidden": [64]},
        client={"epochs": 5, "optimizer": {"name": "sgd", "lr": 0.2}},
    )
    umbel.simulate(told, out=folder)
    return folder / "model.safetensors"


@pytest.mark.parametrize("paradigm", ["distill", "relations"])
def test_the_student_alone_is_the_result_and_travels(teacher, tmp_path, paradigm):
    result = umbel.simulate(experiment(paradigm, teacher), out=tmp_path / "run")
    assert sorted(result.model) == ["body.1.bias", "body.1.weight", "head.bias", "head.weight"]
    told = json.loads((tmp_path / "run" / "environment.json").read_text())
    assert {tensor["name"] for tensor in told["travels"]} == set(result.model)
    whole = sum(v.numel() * 4 for v in read_tensors(teacher)[0].values())
    down = [record["bytes_down"] for record in result.records]
    assert down[0] > down[1] + whole and abs(down[1] - down[2]) < 100


def test_a_student_learns_more_from_a_teacher_than_from_its_labels_alone(teacher, tmp_path):
    """The same rounds and the same start; of three seeds the mean."""
    found = {}
    for share in (0.0, 0.9):
        paradigm = {"name": "distill", "share": share, "temperature": 2.0}
        scores = []
        for seed in range(3):
            told = experiment(paradigm, teacher)
            run = told.experiment.model_copy(update={"seed": seed})
            folder = tmp_path / f"{share}-{seed}"
            result = umbel.simulate(told.model_copy(update={"experiment": run}), out=folder)
            scores.append(result.records[-1]["metrics"]["federated"]["accuracy"])
        found[share] = sum(scores) / 3
    assert found[0.9] > found[0.0] + 0.01


def test_two_workers_end_in_the_same_bytes(teacher, tmp_path):
    told = experiment("distill", teacher)
    one = umbel.simulate(told, out=tmp_path / "one")
    sections = told.model_dump(exclude_unset=True) | {"simulation": {"workers": 2}}
    two = umbel.simulate(Experiment(**sections), out=tmp_path / "two")
    assert one.sha256 == two.sha256


@pytest.mark.parametrize(
    ("paradigm", "sections", "said"),
    [
        ("distill", {"teacher": None}, "teacher: this paradigm needs one"),
        ("distill", {}, "teacher.weights: missing; the teacher must have been trained"),
        ({"name": "distill", "temperature": 0.0}, {}, "temperature: 0 is not above 0"),
        ({"name": "distill", "share": 1.5}, {}, r"share: 1.5 is not in \[0, 1\]"),
        ({"name": "relations", "angles": -1.0}, {}, "angles: -1 is below 0"),
    ],
)
def test_what_is_refused(tmp_path, paradigm, sections, said):
    with pytest.raises(BadInput, match=said):
        umbel.simulate(experiment(paradigm, **sections), out=tmp_path / "run")


def test_a_teacher_for_other_classes_is_refused(teacher, tmp_path):
    rows = np.random.default_rng(0).integers(0, 255, (40, 8, 8), dtype=np.uint8)
    np.savez(tmp_path / "three.npz", x=rows, y=np.arange(40) % 3)
    sections = experiment("distill", teacher).model_dump(exclude_unset=True)
    sections["data"] = {"source": str(tmp_path / "three.npz"), "clients": 2}
    with pytest.raises(BadInput, match="teacher.weights: .*does not fit: it has no head.weight"):
        umbel.simulate(Experiment(**sections), out=tmp_path / "run")
