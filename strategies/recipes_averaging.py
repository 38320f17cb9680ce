"""Recipes that differ from federated averaging in how updates are combined and how the model
moves at the server."""

from __future__ import annotations

from .combine import WeightedMean
from .control import even_rates, plain_descent
from .extrapolate import Extrapolated
from .fair import FairMean
from .hyper import Hyper
from .local_parts import together
from .nova import NormalisedMean
from .parts import Need, Step
from .proximal import Proximal
from .select import Choice, chosen
from .server_optimizers import Adagrad, Adam, Momentum, Yogi
from .strategy import Strategy
from .weighting import WEIGHTINGS, WeightingName, telling


def fedsgd(
    *,
    weighting: WeightingName = "examples",
    fraction: float = 1.0,
    select: Choice = "fraction",
) -> Strategy:
    """Federated SGD: one gradient of each client's whole shard a round.

    Paper: McMahan et al. 2017, Communication-Efficient Learning of Deep Networks from
    Decentralized Data, arXiv 1602.05629, section 2: `w_{t+1} = w_t - eta sum_k (n_k / n) g_k`,
    which is FedAvg with one local epoch (E = 1) on the whole shard (B = infinity).

    Args:
        weighting: how much each update counts; `examples` as in the paper.
        fraction: C, the share of the population in each round, in (0, 1].
        select: the rule that draws it.

    >>> [need.key for need in fedsgd().needs][:2]
    ['client.epochs', 'client.steps']
    """
    why = "FedSGD takes one step on the whole shard"
    one_step = {"client.epochs": 1, "client.steps": None, "client.batch_size": 0}
    return Strategy(
        name="fedsgd",
        select=chosen(select, fraction),
        local=telling(weighting),
        combine=WeightedMean(WEIGHTINGS[weighting]),
        needs=(*(Need(k, v, why) for k, v in one_step.items()), *plain_descent(why)),
    )


def fednova(
    *,
    momentum: float = 0.0,
    mu: float = 0.0,
    learning_rate: float = 0.05,
    weighting: WeightingName = "examples",
    fraction: float = 1.0,
    select: Choice = "fraction",
) -> Strategy:
    """Normalised averaging: clients who take more steps do not pull the model their way.

    Paper: Wang et al. 2020, Tackling the Objective Inconsistency Problem in Heterogeneous
    Federated Optimization, arXiv 2007.07481, equation 6: each change is divided by
    `||a_i||_1`, which is its number of steps for plain SGD.

    Args:
        momentum: the clients' own, in [0, 1); client.optimizer.momentum must be the same.
        mu: the weight of FedProx's proximal term at the clients, >= 0; not beside a momentum.
        learning_rate: with a `mu`, the clients' own; client.optimizer.lr must be the same.
        weighting: how much each update counts; `examples` as in the paper.
        fraction: the share of the population in each round, in (0, 1].
        select: the rule that draws it.

    >>> fednova(momentum=0.9).combine.momentum
    0.9
    """
    why = "FedNova reckons how far the clients' steps go"
    wanted: dict[str, object] = {"name": "sgd", "momentum": momentum, "nesterov": False}
    needs = [Need(f"client.optimizer.{key}", value, why) for key, value in wanted.items()]
    if mu:
        needs.append(Need("client.optimizer.lr", learning_rate, why))
        needs.append(Need("client.schedule", "constant", why))
        needs.append(even_rates(why))
    return Strategy(
        name="fednova",
        select=chosen(select, fraction),
        local=together(telling(weighting), *([Proximal(mu)] if mu else [])),
        combine=NormalisedMean(momentum, WEIGHTINGS[weighting], mu, learning_rate),
        needs=tuple(needs),
    )


def fedexp(
    *,
    epsilon: float = 1e-3,
    weighting: WeightingName = "uniform",
    fraction: float = 1.0,
    select: Choice = "fraction",
) -> Strategy:
    """FedAvg with a server step that is longer while the clients disagree.

    Paper: Jhunjhunwala, Wang and Joshi 2023, FedExP: Speeding Up Federated Averaging via
    Extrapolation, arXiv 2301.09604, equation 7:
    `eta_g = max(1, sum_i ||D_i||^2 / (2 M (||D||^2 + epsilon)))`.

    Args:
        epsilon: keeps the step short where the mean change is small, > 0.
        weighting: how much each update counts; `uniform` as in the paper.
        fraction: the share of the population in each round, in (0, 1].
        select: the rule that draws it.

    >>> fedexp().combine.epsilon
    0.001
    """
    return Strategy(
        name="fedexp",
        select=chosen(select, fraction),
        local=telling(weighting),
        combine=Extrapolated(epsilon, WEIGHTINGS[weighting]),
    )


def qfedavg(
    *,
    q: float = 0.1,
    learning_rate: float = 0.05,
    fraction: float = 1.0,
    select: Choice = "fraction",
) -> Strategy:
    """Fair averaging: clients with a larger loss count more.

    Paper: Li et al. 2020, Fair Resource Allocation in Federated Learning, arXiv 1905.10497,
    algorithm 2 (q-FedAvg).

    Args:
        q: how much fairness counts, >= 0; 0 is FedAvg with uniform weights.
        learning_rate: the clients' own, > 0; client.optimizer.lr must be the same.
        fraction: the share of the population in each round, in (0, 1].
        select: the rule that draws it.

    >>> qfedavg(q=1.0).combine.q
    1.0
    """
    why = "q-FedAvg takes 1 / learning_rate for the losses' Lipschitz constant"
    wanted = {"name": "sgd", "lr": learning_rate}
    needs = [Need(f"client.optimizer.{key}", v, why) for key, v in wanted.items()]
    return Strategy(
        name="qfedavg",
        select=chosen(select, fraction),
        combine=FairMean(q, learning_rate),
        needs=(*needs, even_rates(why)),
    )


def fedavgm(
    *,
    learning_rate: Hyper = 1.0,
    beta: float = 0.9,
    weighting: WeightingName = "examples",
    fraction: float = 1.0,
    select: Choice = "fraction",
) -> Strategy:
    """FedAvg with momentum at the server.

    Paper: Hsu, Qi and Brown 2019, Measuring the Effects of Non-Identical Data Distribution for
    Federated Visual Classification, arXiv 1909.06335: `v <- beta v + D`, `w <- w + v`.

    Args:
        learning_rate: the server's, > 0, or a schedule of it; 1 in the paper.
        beta: the momentum, in [0, 1).
        weighting: how much each update counts; `examples` as in the paper.
        fraction: the share of the population in each round, in (0, 1].
        select: the rule that draws it.

    >>> fedavgm(beta=0.5).step
    Momentum(learning_rate=1.0, beta=0.5)
    """
    step = Momentum(learning_rate, beta)
    return _moved("fedavgm", step, weighting, chosen_as=(select, fraction))


def fedadagrad(
    *,
    learning_rate: Hyper = 0.1,
    beta1: float = 0.0,
    tau: float = 1e-3,
    weighting: WeightingName = "examples",
    fraction: float = 1.0,
    select: Choice = "fraction",
) -> Strategy:
    """FedAvg with Adagrad at the server.

    Paper: Reddi et al. 2021, Adaptive Federated Optimization, arXiv 2003.00295, algorithm 2:
    `v <- v + D^2`, `w <- w + eta m / (sqrt(v) + tau)`.

    Args:
        learning_rate: eta, > 0, or a schedule of it.
        beta1: the momentum, in [0, 1); 0 in the paper's experiments.
        tau: the degree of adaptivity, > 0.
        weighting: how much each update counts.
        fraction: the share of the population in each round, in (0, 1].
        select: the rule that draws it.

    >>> fedadagrad().step.learning_rate
    0.1
    """
    step = Adagrad(learning_rate, beta1, tau=tau)
    return _moved("fedadagrad", step, weighting, chosen_as=(select, fraction))


def fedadam(
    *,
    learning_rate: Hyper = 0.01,
    beta1: float = 0.9,
    beta2: float = 0.99,
    tau: float = 1e-3,
    weighting: WeightingName = "examples",
    fraction: float = 1.0,
    select: Choice = "fraction",
) -> Strategy:
    """FedAvg with Adam at the server.

    Paper: Reddi et al. 2021, Adaptive Federated Optimization, arXiv 2003.00295, algorithm 2:
    `v <- beta2 v + (1 - beta2) D^2`, `w <- w + eta m / (sqrt(v) + tau)`, without correction of
    bias.

    Args:
        learning_rate: eta, > 0, or a schedule of it.
        beta1: the first moment's decay, in [0, 1).
        beta2: the second moment's decay, in [0, 1).
        tau: the degree of adaptivity, > 0.
        weighting: how much each update counts.
        fraction: the share of the population in each round, in (0, 1].
        select: the rule that draws it.

    >>> fedadam(tau=0.01).step.tau
    0.01
    """
    step = Adam(learning_rate, beta1, beta2, tau)
    return _moved("fedadam", step, weighting, chosen_as=(select, fraction))


def fedyogi(
    *,
    learning_rate: Hyper = 0.01,
    beta1: float = 0.9,
    beta2: float = 0.99,
    tau: float = 1e-3,
    weighting: WeightingName = "examples",
    fraction: float = 1.0,
    select: Choice = "fraction",
) -> Strategy:
    """FedAvg with Yogi at the server.

    Paper: Reddi et al. 2021, Adaptive Federated Optimization, arXiv 2003.00295, algorithm 2:
    `v <- v - (1 - beta2) D^2 sign(v - D^2)`, `w <- w + eta m / (sqrt(v) + tau)`.

    Args:
        learning_rate: eta, > 0, or a schedule of it.
        beta1: the first moment's decay, in [0, 1).
        beta2: the second moment's decay, in [0, 1).
        tau: the degree of adaptivity, > 0.
        weighting: how much each update counts.
        fraction: the share of the population in each round, in (0, 1].
        select: the rule that draws it.

    >>> fedyogi().step.beta2
    0.99
    """
    step = Yogi(learning_rate, beta1, beta2, tau)
    return _moved("fedyogi", step, weighting, chosen_as=(select, fraction))


def _moved(
    name: str, step: Step, weighting: WeightingName, chosen_as: tuple[Choice, float]
) -> Strategy:
    """FedAvg with another step."""
    return Strategy(
        name=name,
        select=chosen(*chosen_as),
        local=telling(weighting),
        combine=WeightedMean(WEIGHTINGS[weighting]),
        step=step,
    )
