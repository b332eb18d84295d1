"""The interface of spaces of local approximators: functions of the chart coordinates z in [-1, 1]^d.

Spaces are spanned by products of univariate functions, one factor per coordinate, which is what the network
needs in order to build them from one register per coordinate. The bases are chosen for their conditioning; a
network that uses another basis of the same space converts the coefficients.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, Self

from torch import Tensor

from construct.validation import shaped


@dataclass(frozen=True)
class Fit:
    """Coefficients (n, c) of one local approximator per chart and its largest residual (n,) on the nodes."""

    coefficients: Tensor
    residual: Tensor

    @property
    def sup(self) -> float:
        """The largest residual on any node of any chart."""
        return float(self.residual.max())


class BallNodes(NamedTuple):
    """Where a space wants to be fitted on a chart, whose image is a somewhat deformed ball.

    polar: (p, d) points of the closed unit ball, to be stretched along every direction to the image's rim.
    grid: (g, d) points of [-1, 1]^d, to be taken as chart coordinates where they lie in the image.
    """

    polar: Tensor
    grid: Tensor


class LocalSpace(ABC):
    """A finite-dimensional space of functions on [-1, 1]^dim with a fixed basis.

    A planner refines a space by its `size`: the degree of polynomials, the cells of splines.

    Attributes:
        name: as in `spec`.
        dim: number of chart coordinates, >= 1.
        count: number of basis functions c.
        degree: of the functions, in each cell.
        cells: number of cells in each coordinate, 1 where the functions are smooth.
        indices: (c, dim) for every basis function the numbers of its univariate factors.
    """

    name: ClassVar[str]
    dim: int
    count: int
    degree: int
    cells: int
    indices: Tensor

    @property
    @abstractmethod
    def size(self) -> int:
        """The number that a planner refines."""

    @property
    @abstractmethod
    def text(self) -> str:
        """The size in words, e.g. "degree 8"."""

    @property
    @abstractmethod
    def step(self) -> int:
        """The smallest difference of sizes that is worth a planner's while."""

    @property
    @abstractmethod
    def least(self) -> int:
        """The smallest size that there is."""

    @abstractmethod
    def finer(self, factor: float) -> int:
        """The next size to try when this one's error is to fall by a `factor`, predicted by the order of the target, of
        its number of cells."""

    @abstractmethod
    def with_size(self, size: int) -> Self:
        """The space of the same kind and dimension with another size."""

    @abstractmethod
    def evaluate(self, z: Tensor) -> Tensor:
        """Every basis function at z (..., dim) -> (..., c)."""

    @abstractmethod
    def combine(self, z: Tensor, coefficients: Tensor) -> Tensor:
        """sum_c coefficients[..., c] B_c(z): z (..., m, dim), coefficients (..., c) -> (..., m).

        Leading axes of the two are the same (charts). Does not hold all (m, c) products at once where it can
        avoid it.
        """

    @abstractmethod
    def constant(self, value: float) -> Tensor:
        """Coefficients (c,) of a constant function."""

    @abstractmethod
    def trimmed(self, coefficients: Tensor, tolerance: float) -> Tensor:
        """Coefficients (n, c) with as many zeros as change no value by more than `tolerance`, where the basis allows
        to say so; otherwise as they are."""

    @abstractmethod
    def fitted(self, z: Tensor, values: Tensor, mask: Tensor, *, lawson: int) -> Fit:
        """The space's own near-minimax fit on every chart: z (n, q, dim), values (n, q), mask (n, q) bool.

        The arguments are not checked; `construct.local.fit` does that.
        """

    @abstractmethod
    def ball_nodes(self, density: float, *, edge: bool) -> BallNodes:
        """Nodes for a fit on a ball; `edge`: whether the manifold has one, which may cut the ball.

        density: factor on the number of nodes per direction.
        """

    @abstractmethod
    def cube_nodes(self, density: float) -> Tensor:
        """Nodes (q, d) for a fit on the whole of [-1, 1]^d, corners included."""

    def spec(self) -> dict[str, Any]:
        """Name, dimension and size as a JSON-able dictionary; `construct.local.space_from_spec` inverts it."""
        return {"name": self.name, "dim": self.dim, "size": self.size}

    def _check(self, z: Tensor) -> None:
        shaped(z, "z", self.dim)
