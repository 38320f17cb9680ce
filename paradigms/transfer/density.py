"""The ratio of two densities by a classifier that tells their examples apart."""

from __future__ import annotations

import math
import warnings

import numpy as np
from sklearn.linear_model import LogisticRegression


def density_ratio(source: np.ndarray, target: np.ndarray, bound: float = math.inf) -> np.ndarray:
    """How much likelier than in the source each of its examples is in the target, (m,), at most
    `bound`: `m/n p(target | x) / p(source | x)` by logistic regression on whose an example is.

    Paper: Bickel, Brueckner and Scheffer 2009, Discriminative Learning under Covariate Shift,
    JMLR 10:2137-2155; at first 2007, doi 10.1145/1273496.1273507.

    Args:
        source: (m, d), m >= 1.
        target: (n, d), n >= 1.
        bound: > 0.

    >>> source, target = np.array([[0.0], [1.0], [2.0]]), np.array([[2.0], [2.0]])
    >>> bool(np.all(np.diff(density_ratio(source, target)) > 0))
    True
    """
    model = LogisticRegression(max_iter=1000)
    whose = np.repeat([0, 1], [len(source), len(target)])
    with warnings.catch_warnings():
        # A solver that is not quite done still tells them apart.
        warnings.simplefilter("ignore")
        model.fit(np.concatenate([source, target]), whose)
    # The odds of a logistic model are the exponential of its score.
    logarithm = model.decision_function(source) + math.log(len(source) / len(target))
    ratio: np.ndarray = np.exp(np.minimum(logarithm, math.log(bound)))
    return ratio
