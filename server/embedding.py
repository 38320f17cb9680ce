"""What the model's last layer is given of the server's own test examples, on a plane."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from threadpoolctl import threadpool_limits
from torch import Tensor, nn

from ..errors import BadInput
from ..paradigms.base import Predicts
from ..randomness import numpy_generator
from ..tensors import Tensors
from ..training.threads import one_thread
from .evaluation import CentralTest

MOST = 1000
"""So many examples are drawn."""


class Embedding:
    """Some of a server's test examples, drawn by the seed, and the layer that looks at them last.

    Of a graph all nodes go through a model, and the prepared shard's `rows` say which are examples.

    Raises BadInput for a paradigm that tells no classes, a test set without labels, and a model
    whose last layer is not given each example once.
    """

    def __init__(self, test: CentralTest, seed: int) -> None:
        self._test = test
        self._layer = last_layer(test.model)
        seen = _Seen()
        truth, _ = self._tell(seen)
        if not len(truth):
            raise BadInput("evaluation.embeddings: no example of the server's test set has a label")
        self._examples = len(truth)
        count = min(MOST, len(truth))
        generator = numpy_generator(seed, purpose="embeddings")
        drawn = np.sort(generator.choice(len(truth), count, replace=False))
        self._drawn = torch.from_numpy(drawn)
        rows = test.prepared.get("rows", torch.arange(len(truth)))
        self._rows = rows[self._drawn]
        if not seen.fits(len(truth), int(rows.max()), graph="rows" in test.prepared):
            raise BadInput(
                f"evaluation.embeddings: the last layer of {type(test.model).__name__} is not "
                "given each example once; name another as its output_layer, or leave it out"
            )

    def tell(self, tensors: Tensors, classes: Sequence[str]) -> dict[str, Any]:
        """What embeddings.json says of a model with these tensors, but for which it is."""
        self._test.model.load_state_dict(tensors)
        seen = _Seen(self._rows)
        truth, told = self._tell(seen)
        features = torch.cat(seen.parts).double().numpy()
        points, explained = plane(features)
        return {
            "classes": list(classes),
            "points": points.tolist(),
            "truth": truth[self._drawn].tolist(),
            "told": told[self._drawn].tolist(),
            "explained": explained.tolist(),
            "width": features.shape[1],
            "examples": self._examples,
        }

    def _tell(self, seen: _Seen) -> tuple[Tensor, Tensor]:
        """Class codes (n,) and those that the model as it stands tells."""
        test = self._test
        if not isinstance(test.paradigm, Predicts):
            raise BadInput("evaluation.embeddings: this paradigm tells no classes; leave it out")
        test.model.eval()
        hook = self._layer.register_forward_pre_hook(seen)
        try:
            with one_thread():
                return test.paradigm.predictions(test.model, test.prepared, None)
        finally:
            hook.remove()


class _Seen:
    """Notes what a layer is given: of some rows, ascending, those themselves, flat (n, d)."""

    def __init__(self, rows: Tensor | None = None) -> None:
        self._rows = torch.zeros(0, dtype=torch.int64) if rows is None else rows
        self.parts: list[Tensor] = []
        self._count = 0

    def __call__(self, layer: nn.Module, given: tuple[Any, ...]) -> None:
        if not given or not isinstance(given[0], Tensor):
            return
        here = self._rows - self._count
        inside = given[0][here[(here >= 0) & (here < len(given[0]))]]
        self.parts.append(inside.flatten(1))
        self._count += len(given[0])

    def fits(self, examples: int, last: int, *, graph: bool) -> bool:
        """Whether it was given so many examples, or a graph with that last node."""
        return len(self.parts) == 1 and last < self._count if graph else self._count == examples


def last_layer(model: nn.Module) -> nn.Module:
    """What tells classes: what the model's `output_layer` names, or else its `head`; raises
    BadInput for a model that has neither.

    >>> model = nn.Sequential()
    >>> model.add_module("head", nn.Linear(4, 3))
    >>> last_layer(model)
    Linear(in_features=4, out_features=3, bias=True)
    """
    name = str(getattr(model, "output_layer", "head"))
    try:
        return model.get_submodule(name)
    except AttributeError:
        raise BadInput(
            f"evaluation.embeddings: {type(model).__name__} names no output_layer and has no head, "
            "so there is nothing before it to show; leave it out"
        ) from None


def plane(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows (n, d) by their two principal components, (n, 2), and the share of the variance that
    each has; zeros where there are fewer. Of each component the number that is farthest from 0 is
    positive, without which its sign would be the solver's.

    >>> points, explained = plane(np.array([[0.0, 0.0], [0.0, 2.0], [0.0, 4.0]]))
    >>> points[:, 0].round(6).tolist(), explained.round(6).tolist()
    ([-2.0, 0.0, 2.0], [1.0, 0.0])
    """
    from sklearn.decomposition import PCA

    points, explained = np.zeros((len(features), 2)), np.zeros(2)
    if not (features != features[:1]).any():
        return points, explained
    count = min(2, *features.shape)
    # The number of threads changes sums in their last bits.
    with threadpool_limits(limits=1):
        fitted = PCA(count, svd_solver="full").fit(features)
        found = fitted.transform(features)
    far = np.abs(fitted.components_).argmax(axis=1)
    points[:, :count] = found * np.sign(fitted.components_[np.arange(count), far])
    explained[:count] = fitted.explained_variance_ratio_
    return points, explained
