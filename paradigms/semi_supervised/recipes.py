"""The named methods that learn from pseudo-labels: each a recipe that reads as its paper."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from ..base import BuildModel
from .augmentation import Choice
from .confident import Confident, Source, Terms
from .disjoint import PSI, Disjoint, Pull
from .fixed import FixedAndMixed
from .mixed import Mixed
from .peers import Lending, lending_of
from .semi import SemiSupervised
from .thresholds import ByLearning, Fixed, Margin, SelfAdaptive, adaptive


def self_training(
    build_model: BuildModel, *, threshold: float = 0.9, ratio: int = 4
) -> SemiSupervised:
    """Self-training in rounds: what the received model is sure of is learnt as if labelled.

    Paper: Yarowsky 1995, Unsupervised Word Sense Disambiguation Rivaling Supervised Methods, doi
    10.3115/981658.981684; here a round is a turn of predicting and training anew.

    Args:
        threshold: how likely a pseudo-label must be, in [0, 1].
        ratio: unlabelled examples in a batch for each labelled one.
    """
    mixed = Mixed(build_model, ratio=ratio, augmentation="none")
    terms = Terms(strong=False, source="round")
    return SemiSupervised(mixed, Confident(mixed, terms, Fixed(threshold)))


def svm(build_model: BuildModel, *, margin: float = 1.0, ratio: int = 4) -> SemiSupervised:
    """A support vector machine that trains itself: with the model `logistic` a linear one, by the
    multi-class hinge loss. Set `client.optimizer.weight_decay`, its penalty: with 0, the default,
    no margin is made wide.

    Paper: Crammer and Singer 2001, On the Algorithmic Implementation of Multiclass Kernel-based
    Vector Machines, Journal of Machine Learning Research 2; self-training as of `self-training`.
    With n labelled examples alone it is scikit-learn's `LinearSVC(multi_class="crammer_singer")`
    with `C = 1 / (n weight_decay)`, its intercept under the penalty, too.

    Args:
        margin: by how much the best score must be above the second, >= 0.
        ratio: unlabelled examples in a batch for each labelled one.
    """
    mixed = Mixed(build_model, ratio=ratio, augmentation="none")
    terms = Terms(strong=False, source="round", hinge=True)
    return SemiSupervised(mixed, Confident(mixed, terms, Margin(margin)))


def semifl(
    build_model: BuildModel,
    *,
    threshold: float = 0.95,
    weight: float = 1.0,
    alpha: float = 0.75,
    ratio: int = 1,
    augmentation: Choice = "auto",
) -> SemiSupervised:
    """What the received model is sure of, learnt of strongly changed copies and of mixtures.

    Paper: Diao, Ding and Tarokh 2022, SemiFL, arXiv 2106.01432; the server's part is the strategy
    `semifl`.

    Args:
        threshold: how likely a pseudo-label must be, in [0, 1].
        weight: of the loss on mixtures, >= 0.
        alpha: of the Beta distribution of the shares in a mixture, > 0.
        ratio: unlabelled examples in a batch for each labelled one, or of `client.batch_size`.
        augmentation: as for `fixmatch`.
    """
    mixed = Mixed(build_model, ratio=ratio, augmentation=augmentation)
    method = FixedAndMixed(mixed, threshold=threshold, weight=weight, alpha=alpha)
    return SemiSupervised(mixed, method)


def pseudo_label(
    build_model: BuildModel,
    *,
    threshold: float = 0.0,
    weight: float = 1.0,
    ramp: int = 10,
    ratio: int = 4,
    source: Source = "model",
    peers: int = 2,
    augmentation: Choice = "none",
) -> SemiSupervised:
    """Pseudo-labels of the model as it stands, with a weight that grows round by round.

    Paper: Lee 2013, Pseudo-Label: The Simple and Efficient Semi-Supervised Learning Method for Deep
    Neural Networks, ICML workshop, equations 14 to 16.

    Args:
        threshold: how likely a pseudo-label must be, in [0, 1]; the paper takes all.
        weight: of their loss, >= 0.
        ramp: rounds in which it grows to that.
        ratio: unlabelled examples in a batch for each labelled one.
        source: whose pseudo-labels: of the `model` in each step, or as the `round` began; or of a
            `committee` of that and other clients' models.
        peers: how many others are in a committee, >= 1.
        augmentation: whose weak way all examples are changed by; the paper changes none.
    """
    mixed = Mixed(build_model, ratio=ratio, augmentation=augmentation)
    terms = Terms(weight=weight, ramp=ramp, strong=False, source=source)
    method = Confident(mixed, terms, Fixed(threshold))
    return SemiSupervised(mixed, method, lending_of(source, peers))


def fixmatch(
    build_model: BuildModel,
    *,
    threshold: float = 0.95,
    weight: float = 1.0,
    ratio: int = 7,
    source: Source = "model",
    peers: int = 2,
    augmentation: Choice = "auto",
) -> SemiSupervised:
    """Pseudo-labels of weakly changed examples, learnt of strongly changed ones.

    Paper: Sohn et al. 2020, FixMatch, arXiv 2001.07685, equations 3 and 4.

    Args:
        threshold: how likely a pseudo-label must be, in [0, 1].
        weight: of their loss, >= 0.
        ratio: unlabelled examples in a batch for each labelled one.
        source: as for `pseudo-label`.
        peers: how many others are in a committee, >= 1.
        augmentation: `auto`, `image`, `vector`, `text` or `none`, or a table with its settings.
    """
    mixed = Mixed(build_model, ratio=ratio, augmentation=augmentation)
    method = Confident(mixed, Terms(weight=weight, source=source), Fixed(threshold))
    return SemiSupervised(mixed, method, lending_of(source, peers))


def fedmatch(
    build_model: BuildModel,
    *,
    threshold: float = 0.75,
    weight: float = 0.01,
    closeness: float = 1.0,
    sparsity: float = 1e-5,
    peers: int = 2,
    ratio: int = 7,
    augmentation: Choice = "auto",
) -> SemiSupervised:
    """What the models of like clients agree on, learnt by parameters of its own; the server holds
    those of all of a round's clients, to lend them in the next.

    Paper: Jeong, Yoon, Yang and Hwang 2021, Federated Semi-Supervised Learning with Inter-Client
    Consistency & Disjoint Learning, arXiv 2006.12097.

    Args:
        threshold: how likely a pseudo-label must be, in [0, 1].
        weight: of the loss without labels, >= 0; the paper's is 0.001 of that of the labels.
        closeness: what draws the parameters that learn without labels to the others, >= 0.
        sparsity: what draws them to 0, >= 0.
        peers: the other clients whose models are asked, >= 0.
        ratio: unlabelled examples in a batch for each labelled one.
        augmentation: as for `fixmatch`.
    """
    mixed = Mixed(build_model, ratio=ratio, augmentation=augmentation)
    pull = Pull(closeness=closeness, sparsity=sparsity)
    method = Disjoint(mixed, Fixed(threshold), weight, pull)
    return SemiSupervised(mixed, method, Lending(peers, prefix=f"{PSI}."))


def flexmatch(
    build_model: BuildModel,
    *,
    threshold: float = 0.95,
    weight: float = 1.0,
    ratio: int = 7,
    source: Source = "model",
    peers: int = 2,
    augmentation: Choice = "auto",
) -> SemiSupervised:
    """FixMatch with a lower threshold for classes that are learnt less.

    Paper: Zhang et al. 2021, FlexMatch, arXiv 2110.08263.

    Args:
        threshold: of the class that is learnt most, in [0, 1].
        weight: of the pseudo-labels' loss, >= 0.
        ratio: unlabelled examples in a batch for each labelled one.
        source: as for `pseudo-label`.
        peers: how many others are in a committee, >= 1.
        augmentation: as for `fixmatch`.
    """
    mixed = Mixed(build_model, ratio=ratio, augmentation=augmentation)
    method = Confident(mixed, Terms(weight=weight, source=source), ByLearning(threshold))
    return SemiSupervised(mixed, method, lending_of(source, peers))


def freematch(
    build_model: BuildModel,
    *,
    momentum: float = 0.99,
    weight: float = 1.0,
    fairness: float = 0.01,
    ratio: int = 7,
    source: Source = "model",
    peers: int = 2,
    augmentation: Choice = "auto",
) -> SemiSupervised:
    """FixMatch with thresholds that follow how sure the model is, of each class.

    Paper: Wang et al. 2023, FreeMatch, arXiv 2205.07246, equations 5 to 13. The paper's momentum is
    0.999, over a million steps.

    Args:
        momentum: of the running means, in [0, 1).
        weight: of the pseudo-labels' loss, >= 0.
        fairness: of the loss that spreads what is said over the classes, >= 0.
        ratio: unlabelled examples in a batch for each labelled one.
        source: as for `pseudo-label`.
        peers: how many others are in a committee, >= 1.
        augmentation: as for `fixmatch`.
    """
    if not fairness >= 0:
        raise ValueError(f"fairness: {fairness:g} is less than 0")
    mixed = Mixed(build_model, ratio=ratio, augmentation=augmentation)

    def fair(model: nn.Module, strong: Tensor, chosen: Tensor) -> Tensor:
        return fairness * unevenness(model, strong, chosen)

    terms = Terms(weight=weight, source=source)
    method = Confident(mixed, terms, SelfAdaptive(momentum), fair)
    return SemiSupervised(mixed, method, lending_of(source, peers))


def unevenness(model: nn.Module, strong: Tensor, chosen: Tensor) -> Tensor:
    """`- H(SumNorm(p / h), SumNorm(p' / h'))`: p and h are the running means of what is said and of
    how often each class is; p' and h' the same of the strongly changed examples of which the model
    is sure. FreeMatch, equations 10 to 12."""
    if not bool(chosen.any()):
        return strong.sum() * 0.0
    said = strong[chosen].softmax(dim=1)
    often = one_hot(said.argmax(dim=1), said.shape[1]).float().mean(dim=0)
    known = adaptive(model)
    before = _over(known.share, known.histogram)
    now = _over(said.mean(dim=0), often)
    return (before * torch.log(now + 1e-12)).sum()


def _over(share: Tensor, often: Tensor) -> Tensor:
    """`share / often`, 0 for a class that is never said, with the sum 1."""
    parts = torch.where(often > 0, share / often.clamp(min=1e-12), 0.0)
    return parts / parts.sum()


def uda(
    build_model: BuildModel,
    *,
    threshold: float = 0.8,
    temperature: float = 0.4,
    weight: float = 1.0,
    ratio: int = 7,
    source: Source = "model",
    peers: int = 2,
    augmentation: Choice = "auto",
) -> SemiSupervised:
    """The probabilities of a weakly changed copy, sharpened, learnt of a strongly changed one.

    Paper: Xie et al. 2020, Unsupervised Data Augmentation for Consistency Training, arXiv
    1904.12848, equation 1 and section 2.4.

    Args:
        threshold: how likely the likeliest class must be, in [0, 1].
        temperature: that sharpens them, > 0.
        weight: of their loss, >= 0.
        ratio: unlabelled examples in a batch for each labelled one.
        source: as for `pseudo-label`.
        peers: how many others are in a committee, >= 1.
        augmentation: as for `fixmatch`.
    """
    mixed = Mixed(build_model, ratio=ratio, augmentation=augmentation)
    terms = Terms(weight=weight, sharpen=temperature, source=source)
    method = Confident(mixed, terms, Fixed(threshold))
    return SemiSupervised(mixed, method, lending_of(source, peers))
