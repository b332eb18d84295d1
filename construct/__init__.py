"""construct: the explicit constructive transformer approximator.

>>> import torch, construct
>>> from construct.manifolds import Sphere
>>> M = Sphere(dim=2, ambient=8)
>>> f = lambda x: torch.exp(x[..., 0]) * torch.sin(3 * x[..., 1] + x[..., 2])
>>> net = construct.approximate(f, M, epsilon=1e-3)     # every weight assigned, nothing trained
>>> net.architecture.stored_numbers                     # of the smaller of the constructions "ridge" and "compact"
76

Theorem: A. Havrilla and W. Liao, NeurIPS 2024, arXiv 2411.06646.
"""

from construct import expressions, manifolds, targets
from construct.architecture import Architecture
from construct.certificates import Certificate, certify, load_certificate
from construct.claim import Claim
from construct.errors import (
    BudgetExceeded,
    ConstructError,
    EpsilonNotReached,
    InputError,
    OffManifoldError,
    OutsideWarning,
    PlanningInterrupted,
    PrecisionError,
    TimeoutReached,
)
from construct.loading import load
from construct.measurement import Measurement, measure
from construct.network import Network
from construct.theorem import approximate, network_of
from construct.theory import generalization_bound
from construct.transformer import Transformer

__version__ = "0.1.0"

__all__ = [
    "Architecture",
    "BudgetExceeded",
    "Certificate",
    "Claim",
    "ConstructError",
    "EpsilonNotReached",
    "InputError",
    "Measurement",
    "Network",
    "OffManifoldError",
    "OutsideWarning",
    "PlanningInterrupted",
    "PrecisionError",
    "TimeoutReached",
    "Transformer",
    "approximate",
    "certify",
    "expressions",
    "generalization_bound",
    "load",
    "load_certificate",
    "manifolds",
    "measure",
    "network_of",
    "targets",
]
