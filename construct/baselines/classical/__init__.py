"""Classical: kernels, radial functions, neighbours, polynomials, trees of them, sparse grids; most of libraries."""

from construct.baselines.base import Method
from construct.baselines.classical.adaptive_chebyshev import AdaptiveChebyshev
from construct.baselines.classical.gaussian_process import GaussianProcess
from construct.baselines.classical.kernels import KernelRegression, KernelRidge
from construct.baselines.classical.local_polynomials import LocalPolynomials
from construct.baselines.classical.neighbours import NearestNeighbours
from construct.baselines.classical.polynomials import GlobalPolynomial
from construct.baselines.classical.radial import RadialBasis
from construct.baselines.classical.sparse_grid import SparseGrid

__all__ = [
    "METHODS",
    "AdaptiveChebyshev",
    "GaussianProcess",
    "GlobalPolynomial",
    "KernelRegression",
    "KernelRidge",
    "LocalPolynomials",
    "NearestNeighbours",
    "RadialBasis",
    "SparseGrid",
]

METHODS: tuple[type[Method], ...] = (
    RadialBasis,
    KernelRidge,
    KernelRegression,
    GaussianProcess,
    NearestNeighbours,
    GlobalPolynomial,
    LocalPolynomials,
    SparseGrid,
    AdaptiveChebyshev,
)
