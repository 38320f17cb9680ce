"""Expectation-maximisation over all clients' examples: each sends sums, and the server makes the
next mixture of their total."""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from ...data.shard import UNLABELLED
from ...errors import BadInput, UmbelError
from ...schema import Schema
from ...tensors import Tensors, difference, is_finite
from ..base import LocalRequest, LocalResult, MetricSums, Prepared
from .mixture import Covariance, Mixture
from .start import EXAMPLES, LABELS, Start, check_enough, gather, nearest
from .summed import (
    PROGRESS,
    Models,
    Progress,
    Summed,
    check_numbers,
    points,
    stage_of,
    unlabelled_classes,
)

COUNT, FIRST, SECOND, NAMED = "em.count", "em.first", "em.second", "em.named"

ROWS = 4096
"""Examples looked at at once; it bounds memory."""


class GaussianMixture(Summed):
    """A mixture of normal distributions, fitted to all examples by EM, to the same parameters as
    with the data in one place; labels say what classes its components stand for.

    Paper: Dempster, Laird and Rubin 1977, Maximum Likelihood from Incomplete Data via the EM
    Algorithm, JRSS B 39, doi 10.1111/j.2517-6161.1977.tb01600.x. With the shares
    `r_k(x) = p(k | x)` by the mixture that a round begins with, clients send `N_k = sum r_k`,
    `S_k = sum r_k (x - m_k)` and `Q_k = sum r_k (x - m_k)(x - m_k)'`, m_k being that mixture's
    means, and of their labelled examples `L_kc = sum r_k [y = c]`. Of the totals the server makes
    `w_k = N_k / N`, `mean_k = m_k + S_k / N_k`, `C_k = Q_k / N_k - (S_k / N_k)(S_k / N_k)' +
    regularisation I` and `p(c | k) = L_kc / sum_c L_kc`.

    The first rounds choose means (`start.Start`), and one more gives each component the examples
    nearest to its mean. `model.weights` may name a file with `means`, which spares the first, or
    with `weights`, `means` and `covariances`, which spares both.

    Args:
        components: how many, >= 1; as many as there are classes if not given.
        covariance: `full`, or `diag`: no correlations within a component.
        regularisation: what is added to every variance, >= 0.
        group: a mean that is chosen at the start is that of so many examples, >= 1.
    """

    def __init__(
        self,
        models: Models,
        *,
        components: int | None = None,
        covariance: Covariance = "full",
        regularisation: float = 1e-6,
        group: int = 5,
    ) -> None:
        if components is not None and components < 1:
            raise ValueError(f"components: {components} is not at least 1")
        if not 0 <= regularisation < math.inf:
            raise ValueError(f"regularisation: {regularisation:g} is not a number from 0")
        super().__init__(models)
        self._start = Start(components or 1, group=group)
        self._components, self._covariance = components, covariance
        self._regularisation = regularisation
        self._classes: tuple[str, ...] = ()

    def build(self, schema: Schema) -> nn.Module:
        check_numbers(schema, "a mixture")
        self._classes = schema.classes
        components = self._components or len(schema.classes)
        self._start = Start(components, group=self._start.group)
        width = math.prod(schema.shape)
        model = Mixture(components, width, len(schema.classes), self._covariance)
        model.add_module(PROGRESS, Progress())
        self._begin_at(model, self._models.weights())
        return model

    def local_update(
        self, model: nn.Module, prepared: Prepared, request: LocalRequest
    ) -> LocalResult:
        mixture, own, labels = cast("Mixture", model), points(prepared["x"]), prepared["y"]
        metrics: MetricSums = {"examples": float(len(own))}
        stage = int(stage_of(mixture))
        with torch.no_grad():
            if stage < self._start.rounds:
                form, chosen = self._form(mixture), mixture.means[:stage]
                sent = self._start.candidates(own, labels, form, chosen, request.generator)
                return LocalResult(len(own), metrics, sent)
            sent = {}
            for rows in torch.arange(len(own)).split(ROWS):
                if stage == self._start.rounds:
                    shares = one_hot(nearest(own[rows], mixture.means), self._start.count).double()
                else:
                    joint = mixture.log_joint(own[rows])
                    metrics["loss"] = metrics.get("loss", 0.0) - float(joint.logsumexp(1).sum())
                    shares = joint.softmax(dim=1)
                gather(sent, _sums(mixture, own[rows], labels[rows], shares))
        return LocalResult(len(own), metrics, sent)

    def least_rounds(self, model: nn.Module) -> int:
        return max(1, self._start.rounds + 1 - int(stage_of(model)))

    def fault(self, model: nn.Module, statistics: Tensors) -> str:
        found = difference(statistics, self._form(cast("Mixture", model)))
        if found:
            return found
        counted = (COUNT, NAMED, EXAMPLES, LABELS)
        negative = [n for n in counted if n in statistics and bool((statistics[n] < 0).any())]
        return f"{negative[0]} holds numbers below 0" if negative else ""

    def gather(self, total: Tensors, more: Tensors) -> None:
        gather(total, more)

    def absorb(self, model: nn.Module, total: Tensors, round: int) -> str:
        mixture, stage = cast("Mixture", model), int(stage_of(model))
        starting = stage < self._start.rounds
        if starting:
            self._start.put(mixture.means, stage, total)
        examples = total.get(EXAMPLES, total.get(COUNT, torch.zeros(1)).sum())
        said = ""
        if round == 1:
            check_enough(float(examples.round()), self._start.count, "components")
            labels = total[LABELS] if starting else total[NAMED].sum(dim=0)
            said = unlabelled_classes(labels, self._classes)
        if not starting:
            self._maximise(mixture, total, round)
        stage_of(mixture).fill_(min(stage + 1, self._start.rounds + 1))
        return said

    def _maximise(self, mixture: Mixture, total: Tensors, round: int) -> None:
        """The M-step; raises UmbelError where a covariance is none."""
        # As in scikit-learn, so that a component of no example is no division by 0.
        count = total[COUNT] + 10 * torch.finfo(torch.float64).eps
        moved = total[FIRST] / count[:, None]
        mixture.means.add_(moved)
        if mixture.covariances.dim() == 2:
            spread = total[SECOND] / count[:, None] - moved.square() + self._regularisation
            good = (spread > 0).all(dim=1)
        else:
            outer = moved[:, :, None] * moved[:, None, :]
            spread = total[SECOND] / count[:, None, None] - outer
            spread.diagonal(dim1=1, dim2=2).add_(self._regularisation)
            good = torch.linalg.cholesky_ex(spread).info == 0
        if not bool(good.all()):
            place = int((~good).nonzero()[0])
            raise UmbelError(
                f"round {round}: the covariance of component {place} is not positive definite; a "
                "larger paradigm.regularisation, or fewer components, mends it"
            )
        mixture.covariances.copy_(spread)
        mixture.weights.copy_(count / count.sum())
        mixture.names.copy_(_named(total[NAMED]))

    def _form(self, mixture: Mixture) -> Tensors:
        stage, width = int(stage_of(mixture)), mixture.means.shape[1]
        if stage < self._start.rounds:
            return self._start.form(stage, width, len(self._classes))
        return {
            COUNT: mixture.weights,
            FIRST: mixture.means,
            SECOND: mixture.covariances,
            NAMED: mixture.names,
        }

    def _begin_at(self, mixture: Mixture, found: Tensors) -> None:
        """Begin with the tensors of a file, if there is one; raises BadInput where they are not
        a mixture's."""
        if not found:
            return
        known = {n: v for n, v in mixture.state_dict().items() if not self.is_helper(n)}
        whole = {"weights", "means", "covariances"} <= found.keys()
        asked = {n: known[n] for n in (known.keys() & found.keys() if whole else ("means",))}
        fault = difference({n: v.double() for n, v in found.items()}, asked)
        if not fault and not all(map(is_finite, found.values())):
            fault = "a value is not finite"
        if fault:
            raise BadInput(f"model.weights: no means, and no mixture, to start from: {fault}")
        for name in asked:
            known[name].copy_(found[name])
        stage_of(mixture).fill_(self._start.rounds + (1 if whole else 0))


def _sums(mixture: Mixture, own: Tensor, labels: Tensor, shares: Tensor) -> Tensors:
    """A client's sums over points (n, d), of which components have shares (n, k)."""
    known = labels != UNLABELLED
    classes = one_hot(labels[known], mixture.names.shape[1]).double()
    first, second = _moments(mixture, own, shares)
    named = shares[known].T @ classes
    return {COUNT: shares.sum(dim=0), FIRST: first, SECOND: second, NAMED: named}


def _moments(mixture: Mixture, own: Tensor, shares: Tensor) -> tuple[Tensor, Tensor]:
    """A client's `S_k` and `Q_k`: about the means that all begin with, for about 0 the last digits
    of variances would be lost. Without correlations by products, about the middle of the means:
    of a variance the share 1e-16 (r / s)^2 is lost, for components r apart and s wide."""
    if mixture.covariances.dim() == 2:
        middle = mixture.means.mean(dim=0)
        moved, means, count = own - middle, mixture.means - middle, shares.sum(dim=0)[:, None]
        total = shares.T @ moved
        squares = shares.T @ moved.square() - 2 * means * total + count * means.square()
        return total - count * means, squares
    first, second = torch.zeros_like(mixture.means), torch.zeros_like(mixture.covariances)
    for place, mean in enumerate(mixture.means):
        moved = own - mean
        weighted = shares[:, place, None] * moved
        first[place], second[place] = weighted.sum(dim=0), weighted.T @ moved
    return first, second


def _named(counts: Tensor) -> Tensor:
    """Class distributions (k, classes) of components, by how much of each class's labelled examples
    is theirs; that over all where a component has none.

    >>> _named(torch.tensor([[3.0, 1.0], [0.0, 0.0]]))
    tensor([[0.7500, 0.2500],
            [0.7500, 0.2500]])
    """
    share = counts.sum(dim=0) / counts.sum()
    own = counts.sum(dim=1, keepdim=True)
    return torch.where(own > 0, counts / own.clamp(min=torch.finfo(counts.dtype).tiny), share)
