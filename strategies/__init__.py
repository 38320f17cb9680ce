"""Strategies: one rule a file, composed; see `parts` for the contract.

`FedAvg(...)` and `FedProx(...)` are the catalogue's recipes under the names that Flower's
users know; what they return works in any Flower `ServerApp` too.
"""

from .combine import WeightedMean
from .local import Proximal
from .parts import Combine, Local, LocalRun, Plain, Select, Selection, Step, Update
from .recipes import fedavg, fedprox
from .select import Fraction
from .step import Replace
from .strategy import Strategy

FedAvg = fedavg
FedProx = fedprox

__all__ = [
    "Combine",
    "FedAvg",
    "FedProx",
    "Fraction",
    "Local",
    "LocalRun",
    "Plain",
    "Proximal",
    "Replace",
    "Select",
    "Selection",
    "Step",
    "Strategy",
    "Update",
    "WeightedMean",
    "fedavg",
    "fedprox",
]
