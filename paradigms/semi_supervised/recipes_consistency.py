"""The named methods that ask a model to agree with itself, or to be sure."""

from __future__ import annotations

from ..base import BuildModel
from .augmentation import Choice
from .consistency import TEACHER, Consistent, Weight
from .entropy import LowEntropy
from .local_teacher import TAUGHT, LocalTeacher
from .mixed import Mixed
from .mixing import MixMatch
from .semi import SemiSupervised


def mixmatch(
    build_model: BuildModel,
    *,
    copies: int = 2,
    temperature: float = 0.5,
    alpha: float = 0.75,
    weight: float = 75.0,
    ramp: int = 20,
    augmentation: Choice = "auto",
) -> SemiSupervised:
    """Guessed labels, and labelled and unlabelled examples mixed with one another.

    Paper: Berthelot et al. 2019, MixMatch, arXiv 1905.02249.

    Args:
        copies: changed copies whose predictions make a guess, >= 1.
        temperature: that sharpens it, > 0.
        alpha: of the Beta distribution of the shares in a mixture, > 0.
        weight: of the loss on guessed labels, >= 0.
        ramp: rounds in which it grows to that.
        augmentation: as for `fixmatch`; not `text`, for texts cannot be mixed.
    """
    mixed = Mixed(build_model, ratio=1, augmentation=augmentation)
    method = MixMatch(
        mixed, copies=copies, temperature=temperature, alpha=alpha, weight=weight, ramp=ramp
    )
    return SemiSupervised(mixed, method)


def mean_teacher(
    build_model: BuildModel,
    *,
    decay: float = 0.99,
    weight: float = 10.0,
    ramp: int = 10,
    ratio: int = 4,
    augmentation: Choice = "auto",
) -> SemiSupervised:
    """A teacher, the running mean of the model's weights, says what the model should; it is the
    run's model, and what is evaluated.

    Paper: Tarvainen and Valpola 2017, Mean teachers are better role models, arXiv 1703.01780.

    Args:
        decay: of the running mean, in [0, 1).
        weight: of the squared difference of their probabilities, >= 0.
        ramp: rounds in which it grows to that.
        ratio: unlabelled examples in a batch for each labelled one.
        augmentation: as for `fixmatch`.
    """
    mixed = Mixed(build_model, ratio=ratio, augmentation=augmentation)
    method = Consistent(mixed, Weight(weight, ramp), decay)
    return SemiSupervised(mixed, method, stand_in=f"{TEACHER}.")


def rscfed(
    build_model: BuildModel,
    *,
    decay: float = 0.999,
    temperature: float = 0.5,
    weight: float = 0.02,
    ratio: int = 4,
    augmentation: Choice = "auto",
) -> SemiSupervised:
    """A teacher of the client's own, which stays there, says of a weakly changed example what the
    model should of a strongly changed one.

    Paper: Liang, Lin, Fu, Zhu and Li 2022, RSCFed, arXiv 2203.13993; the server's part is the
    strategy `rscfed`.

    Args:
        decay: of the running mean that the teacher is, in [0, 1).
        temperature: that sharpens its probabilities, > 0.
        weight: of the squared distance of the two, >= 0.
        ratio: unlabelled examples in a batch for each labelled one, or of `client.batch_size`.
        augmentation: as for `fixmatch`.
    """
    mixed = Mixed(build_model, ratio=ratio, augmentation=augmentation)
    method = LocalTeacher(mixed, decay=decay, temperature=temperature, weight=weight)
    return SemiSupervised(mixed, method, own=(f"{TEACHER}.", f"{TAUGHT}."))


def pi_model(
    build_model: BuildModel,
    *,
    weight: float = 10.0,
    ramp: int = 10,
    ratio: int = 4,
    augmentation: Choice = "auto",
) -> SemiSupervised:
    """The model should say the same of two changed copies of an example.

    Paper: Laine and Aila 2017, Temporal Ensembling for Semi-Supervised Learning, arXiv 1610.02242,
    algorithm 1.

    Args:
        weight: of the squared difference of their probabilities, >= 0.
        ramp: rounds in which it grows to that.
        ratio: unlabelled examples in a batch for each labelled one.
        augmentation: as for `fixmatch`.
    """
    mixed = Mixed(build_model, ratio=ratio, augmentation=augmentation)
    return SemiSupervised(mixed, Consistent(mixed, Weight(weight, ramp), None))


def entropy(
    build_model: BuildModel,
    *,
    weight: float = 0.1,
    ramp: int = 10,
    ratio: int = 4,
    augmentation: Choice = "none",
) -> SemiSupervised:
    """Entropy minimisation: the model should be sure of what it says of unlabelled examples.

    Paper: Grandvalet and Bengio 2004, Semi-supervised Learning by Entropy Minimization, Advances in
    Neural Information Processing Systems 17.

    Args:
        weight: of the mean entropy, >= 0.
        ramp: rounds in which it grows to that.
        ratio: unlabelled examples in a batch for each labelled one.
        augmentation: as for `fixmatch`.
    """
    mixed = Mixed(build_model, ratio=ratio, augmentation=augmentation)
    return SemiSupervised(mixed, LowEntropy(mixed, Weight(weight, ramp)))
