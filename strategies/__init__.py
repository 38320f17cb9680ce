"""Strategies: one rule a file, composed; see `parts` for the contract.

`FedAvg(...)` and `FedProx(...)` are the catalogue's recipes under the names that Flower's
users know; what they return works in any Flower `ServerApp` too.
"""

from .bulyan import Bulyan
from .calibrated import Calibrated
from .centred_clipping import CentredClipping
from .chain import Chain, Clip, Link, Noise, Quantise
from .clusters import Moves, SplitBySequences
from .combine import WeightedMean
from .contrast import Contrastive
from .control import ControlVariates
from .dynamic import DynamicRegulariser, DynamicStep
from .extrapolate import Extrapolated
from .fair import FairMean
from .fltrust import FLTrust
from .geometric_median import GeometricMedian
from .kept import KeepLayers, KeepNormalisation
from .krum import Krum
from .local_parts import Local, LocalRun, Plain, Together, together
from .median import Median
from .norm_bound import NormBound
from .nova import NormalisedMean
from .parts import Combine, Need, Seen, Select, Selection, ServerSide, Step, Turn, Update
from .proximal import Proximal
from .recipes import fedavg, fedprox
from .recipes_averaging import (
    fedadagrad,
    fedadam,
    fedavgm,
    fedexp,
    fednova,
    fedsgd,
    fedyogi,
    qfedavg,
)
from .recipes_clusters import gcfl
from .recipes_heterogeneity import fedbn, feddyn, fedlc, fedper, moon, scaffold
from .select import Fraction, OverSelection, PowerOfChoice, RoundRobin
from .server_optimizers import Adagrad, Adam, Momentum, Yogi
from .step import Replace, Towards
from .strategy import ClientSide, Strategy
from .trimmed_mean import TrimmedMean
from .validated_mean import ValidatedMean

FedAvg = fedavg
FedProx = fedprox

__all__ = [
    "Adagrad",
    "Adam",
    "Bulyan",
    "Calibrated",
    "CentredClipping",
    "Chain",
    "ClientSide",
    "Clip",
    "Combine",
    "Contrastive",
    "ControlVariates",
    "DynamicRegulariser",
    "DynamicStep",
    "Extrapolated",
    "FLTrust",
    "FairMean",
    "FedAvg",
    "FedProx",
    "Fraction",
    "GeometricMedian",
    "KeepLayers",
    "KeepNormalisation",
    "Krum",
    "Link",
    "Local",
    "LocalRun",
    "Median",
    "Momentum",
    "Moves",
    "Need",
    "Noise",
    "NormBound",
    "NormalisedMean",
    "OverSelection",
    "Plain",
    "PowerOfChoice",
    "Proximal",
    "Quantise",
    "Replace",
    "RoundRobin",
    "Seen",
    "Select",
    "Selection",
    "ServerSide",
    "SplitBySequences",
    "Step",
    "Strategy",
    "Together",
    "Towards",
    "TrimmedMean",
    "Turn",
    "Update",
    "ValidatedMean",
    "WeightedMean",
    "Yogi",
    "fedadagrad",
    "fedadam",
    "fedavg",
    "fedavgm",
    "fedbn",
    "feddyn",
    "fedexp",
    "fedlc",
    "fednova",
    "fedper",
    "fedprox",
    "fedsgd",
    "fedyogi",
    "gcfl",
    "moon",
    "qfedavg",
    "scaffold",
    "together",
]
