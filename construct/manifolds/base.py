"""The interface of every manifold, and the isometric embedding of its canonical form into R^D.

A family is written down once, in its canonical R^k, by the underscored methods; the public methods of
`Manifold` check their arguments and carry the canonical form into R^D by the isometry x = frame @ y + offset. The
nearest point of a set that lies in an affine subspace only depends on the orthogonal projection to this
subspace, hence project(x) = frame @ canonical_project(frame^T (x - offset)) + offset.
"""

from __future__ import annotations

import copy
import inspect
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar, NamedTuple, Self

import torch
from torch import Tensor

from construct.boxes import check_resolved, ends
from construct.devices import on_cpu
from construct.errors import OffManifoldError
from construct.manifolds.embedding import isometry, mapped_box
from construct.manifolds.formula import Formula
from construct.progress import tick
from construct.validation import (
    finite_points,
    floating_dtype,
    integer,
    invalid,
    message,
    one_of,
    positive_integer,
    positive_real,
    shaped,
)

LARGEST_NET = 2**27
"""Most numbers (points times D) that one net may hold: 1 GiB in float64."""

KINDS = ("exact", "lower bound", "numeric")
"""How a reach may be known, the surest first."""

REGISTERED: dict[str, type[Manifold]] = {}
"""The classes that `construct.manifolds.manifold` knows, by name."""

Factory = Callable[..., "Manifold"]
FACTORIES: dict[str, Factory] = {}
"""What `construct.manifolds.register` was given, by name."""


class Reach(float):
    """Federer's reach of a set, a float that also says how it is known.

    kind: "exact" (a theorem), "lower bound" (a theorem, perhaps not sharp) or "numeric" (measured, no proof).
    """

    kind: str

    def __new__(cls, value: float, kind: str) -> Reach:
        reach = super().__new__(cls, positive_real(value, "reach", infinite=True))
        reach.kind = one_of(kind, "kind", KINDS)
        return reach

    def __repr__(self) -> str:
        return f"{float(self):.6g} ({self.kind})"

    def __reduce__(self) -> tuple[type[Reach], tuple[float, str]]:
        return Reach, (float(self), self.kind)


class Net(NamedTuple):
    """points (n, D) and a radius such that every point of M is proved to be within `radius` of one of
    them."""

    points: Tensor
    radius: float


class StructuredCover(NamedTuple):
    """centres (n, D) on M and a chord radius proved to cover: M lies in the union of the balls B(centre,
    radius)."""

    centres: Tensor
    radius: float


class Manifold(ABC):
    """A compact d-dimensional submanifold of R^D, perhaps with boundary.

    A family is one class in one file: the abstract methods below, and a `name`, which registers it for
    `construct.manifolds.manifold` and `from_spec`; in this folder the file need not be mentioned anywhere.

    name:  as in `construct.manifolds.manifold_names()`.
    dim:  d, the intrinsic dimension;  ambient: D;  canonical: k <= D, the dimension of the usual formula.
    reach:  Federer's reach of the set (boundary included), a `Reach`.
    chart_radius_bound:  the projection to the tangent space at c is injective on M inside B(c, r) for every r
    below. has_boundary:  whether M has an edge.
    frame:  (D, k) float64, orthonormal columns, x = frame @ y + offset; offset: (D,) float64, 0 unless placed.
    embedded:  whether x is not y: the frame is the identity and the offset 0 where it is False.
    box:  (2, D) float64, box[0] <= x <= box[1] on M up to rounding of x itself.
    radius_bound:  |x| <= radius_bound on M.
    coordinate_bounds:  (d, 2) float64, a box of intrinsic coordinates that `point` maps onto M.
    """

    name: ClassVar[str]
    has_boundary: bool = False
    _registered: dict[str, Any] | None = None  # name and arguments of the factory that made it

    def __init_subclass__(cls, *, registered: bool = True, **others: Any) -> None:
        """Registers a class that states a `name`; `registered=False` for one that its spec cannot rebuild."""
        super().__init_subclass__(**others)
        if "__init__" in cls.__dict__:
            cls.__init__ = on_cpu(cls.__init__)  # type: ignore[method-assign]
        if not registered or "name" not in cls.__dict__:
            return
        known = REGISTERED.get(cls.name, cls)
        if (known.__module__, known.__qualname__) != (cls.__module__, cls.__qualname__):
            raise invalid("name", f"another name than {known.__qualname__} has", cls.name)
        if cls.name in FACTORIES:
            raise invalid("name", "another name than a registered factory has", cls.name)
        REGISTERED[cls.name] = cls

    @on_cpu
    def __init__(
        self,
        *,
        dim: int,
        canonical: int,
        reach: Reach,
        box: Tensor,
        radius: float,
        coordinate_bounds: Tensor,
        chart_radius_bound: float | None = None,
        ambient: int | None = None,
        seed: int = 0,
    ) -> None:
        """`box` (2, k) has the lower and upper ends of the canonical coordinates, or is (k,), bounds of their absolute
        values; `radius` bounds the norm of the canonical points."""
        self.frame = isometry(canonical, ambient, seed)
        self.dim, self.canonical, self.ambient = dim, canonical, self.frame.shape[0]
        self.seed, self.reach = seed, reach
        self.chart_radius_bound = float(reach) if chart_radius_bound is None else chart_radius_bound
        self.coordinate_bounds, self.radius_bound, self.canonical_radius = coordinate_bounds, radius, radius
        self.offset, self.embedded = torch.zeros(self.ambient, dtype=torch.float64), self.ambient != canonical
        self.box = self.canonical_box = torch.from_numpy(ends(box, "box", canonical))
        check_resolved(self.box.numpy(), torch.float64, "box", "one of a manifold")
        if self.embedded:
            longest = self.frame.norm(dim=1) * radius
            self.box = mapped_box(self.frame, self.box).clamp(-longest, longest)

    @on_cpu
    def placed(
        self,
        *,
        translation: Sequence[float] | Tensor | None = None,
        scale: float = 1.0,
        rotation: Sequence[Sequence[float]] | Tensor | None = None,
    ) -> Manifold:
        """The manifold translation + scale rotation M; see `Placed`, whose arguments and errors these are."""
        arguments = {"base": self, "translation": translation, "scale": scale, "rotation": rotation}
        return REGISTERED["placed"].from_arguments(**arguments)

    # -- the isometry ----------------------------------------------------------------------------------------

    @property
    def half_widths(self) -> Tensor:
        """(D,), half the sides of the box."""
        return (self.box[1] - self.box[0]) / 2

    @property
    def size(self) -> float:
        """A bound of the distances from some point, wherever M lies: half its diameter, roughly."""
        return min(self.radius_bound, float(self.half_widths.norm()))

    @property
    def largest_coordinates(self) -> Tensor:
        """(D,), bounds of |x_j| on M."""
        return self.box.abs().amax(0)

    def rounding(self, dtype: torch.dtype = torch.float64) -> float:
        """How far from M its points may lie for their coordinates' rounding: 16 units in the last place."""
        return 16 * torch.finfo(dtype).eps * float(self.largest_coordinates.norm())

    def embed(self, y: Tensor) -> Tensor:
        """The point frame @ y + offset of R^D, (..., k) -> (..., D)."""
        return self.directions(y) + self.offset.to(y) if self.embedded else y

    def directions(self, y: Tensor) -> Tensor:
        """The vector frame @ y of R^D, a difference of points, (..., k) -> (..., D)."""
        return y @ self.frame.to(y).T if self.embedded else y

    def restrict(self, x: Tensor) -> Tensor:
        """Canonical coordinates frame^T (x - offset) of the orthogonal projection to the canonical subspace, (..., D)
        -> (..., k)."""
        return (x - self.offset.to(x)) @ self.frame.to(x) if self.embedded else x

    # -- points ----------------------------------------------------------------------------------------------

    @on_cpu
    def sample(
        self, n: int, seed: int, *, dtype: torch.dtype = torch.float64, device: torch.device | str = "cpu"
    ) -> Tensor:
        """n independent points, (n, D), uniform with respect to volume unless the class says otherwise.

        Drawn in float64 on the CPU from a generator of its own, so that they depend on n and seed only.
        """
        n, seed, dtype = positive_integer(n, "n"), integer(seed, "seed"), floating_dtype(dtype)
        generator = torch.Generator().manual_seed(seed)
        return self.embed(self._sample(n, generator)).to(device=device, dtype=dtype)

    @on_cpu
    def project(self, x: Tensor) -> Tensor:
        """The point of M (edge included) nearest to x, (..., D) -> (..., D).

        Unique for distances below the reach; finite, but without promise to be the nearest, farther out.
        Raises InputError for a wrong shape or a non-finite entry.
        """
        return self.embed(self._project(self.restrict(finite_points(x, "x", self.ambient))))

    @on_cpu
    def contains(self, x: Tensor, tolerance: float = 1e-8) -> Tensor:
        """Whether x is within `tolerance`, and the rounding of its coordinates, of M, (..., D) -> bool (...)."""
        tolerance = positive_real(tolerance, "tolerance") + self.rounding()
        return (finite_points(x, "x", self.ambient) - self.project(x)).norm(dim=-1) <= tolerance

    @on_cpu
    def require(self, x: Tensor, name: str = "x", tolerance: float = 1e-6) -> Tensor:
        """x itself; raises OffManifoldError unless all of its points are within `tolerance`, and rounding, of M."""
        tolerance += self.rounding()
        distance = (finite_points(x, name, self.ambient) - self.project(x)).norm(dim=-1)
        if not bool((distance <= tolerance).all()):
            got = f"a point at distance {float(distance.max()):.3g}"
            raise OffManifoldError(message(name, f"points on {self!r} up to {tolerance:g}", got=got))
        return x

    def tangent_basis(self, x: Tensor) -> Tensor:
        """Orthonormal bases of the tangent spaces at points x of M, (..., D) -> (..., D, d).

        Raises OffManifoldError for points farther than 1e-6 (1e-3 below float64) from M, relative to its
        size.
        """
        x = shaped(x, "x", self.ambient)
        size = max(1.0, self.radius_bound) * (1e-6 if x.dtype == torch.float64 else 1e-3)
        return self.basis_unchecked(self.require(x, tolerance=size))

    def basis_unchecked(self, x: Tensor) -> Tensor:
        """`tangent_basis` without its checks, so that it works under `torch.func` transforms."""
        basis = self._tangent_basis(self.restrict(x))
        return self.frame.to(x) @ basis if self.embedded else basis

    # -- nets and covers -------------------------------------------------------------------------------------

    @on_cpu
    def net(self, spacing: float) -> Net:
        """A finite net on M with a proved radius <= spacing.

        Raises InputError when it would need more than 2^27 numbers.
        """
        points, radius = self._net(positive_real(spacing, "spacing"))
        return Net(self.embed(points), radius)

    def covers(self) -> Iterator[StructuredCover]:
        """Structured covers with proved chord radii: more and more centres, smaller and smaller radii."""
        smallest = math.inf
        for centres, radius in self._covers():
            tick()
            if radius < smallest:
                smallest = radius
                yield StructuredCover(self.embed(centres), radius)

    # -- charts and coordinates ------------------------------------------------------------------------------

    def chart_inverse(self, centre: Tensor, frame: Tensor, y: Tensor) -> Tensor:
        """The point x of M near `centre` with frame^T (x - centre) = y.

        centre (..., D) on M, frame (..., D, d) an orthonormal basis of the tangent space there, y (..., d),
        with batch dimensions that broadcast. Past an edge x lies on the smooth extension of M; where no such
        point exists, x is finite and meaningless. Differentiable in y at least seven times, also by nested
        `torch.func.jvp` and under `torch.func.vmap`.
        """
        centre = shaped(centre, "centre", self.ambient)
        frame = shaped(frame, "frame", self.ambient, self.dim)
        y = shaped(y, "y", self.dim)
        return self.embed(self._chart_inverse(self.restrict(centre), self._restricted_frames(frame), y))

    @on_cpu
    def coordinates(self, x: Tensor) -> Tensor:
        """Intrinsic coordinates u of the point of M nearest to x, (..., D) -> (..., d); the class documents
        them.

        Smooth where the coordinates are, and along the extension of M past an edge. Derivatives are right at
        points of M, to order seven along it. Not checked for
        finiteness, so that it works under `torch.func` transforms; NaN gives NaN.
        """
        return self._coordinates(self.restrict(shaped(x, "x", self.ambient)))

    @on_cpu
    def point(self, u: Tensor) -> Tensor:
        """The point with intrinsic coordinates u, (..., d) -> (..., D)."""
        return self.embed(self._point(shaped(u, "u", self.dim)))

    def lift(self, g: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
        """The function x -> g(coordinates(x)) on M, for g: (..., d) -> (...).

        It is as smooth as g only if g respects the identifications of the coordinates (periods, twists,
        poles).
        """

        def lifted(x: Tensor) -> Tensor:
            return g(self.coordinates(x))

        return lifted

    def formula(self) -> Formula:
        """M's canonical form as expressions on a box, for ball arithmetic; x = frame @ y + offset of its points y.

        Its coordinates need not be those of `coordinates`. Raises InputError where M is known by functions only.
        """
        expected = "a manifold given by expressions: a named one, or ParametricManifold with its argument formula"
        raise invalid("formula", expected, got=f"a {type(self).__name__} given by functions")

    # -- closed forms that a family may know -----------------------------------------------------------------

    def tangent_bound(self, centres: Tensor, frames: Tensor, radius: float) -> float | None:
        """A proved bound, in closed form, of |frames_n^T (x - centres_n)|_inf over n and x in M ∩ B(centres_n, radius).

        centres (n, D) on M, frames (n, D, d) orthonormal bases of the tangent spaces there. None where the family
        knows no such form; then a net of M gives a bound.
        """
        return self._tangent_bound(self.restrict(centres), self._restricted_frames(frames), radius)

    def fills_cube(self, centre: Tensor, frame: Tensor, scale: float) -> bool:
        """Whether M is the whole cube centre + frame [-scale, scale]^d, up to rounding; centre (D,), frame (D, d).

        Nodes of a fit may then be those of the cube, corners included.
        """
        return self._fills_cube(self.restrict(centre), self._restricted_frames(frame), scale)

    def _restricted_frames(self, frames: Tensor) -> Tensor:
        """Tangent bases in canonical coordinates, (..., D, d) -> (..., k, d)."""
        return self.frame.to(frames).T @ frames if self.embedded else frames

    # -- description -----------------------------------------------------------------------------------------

    @classmethod
    def from_arguments(cls, **arguments: Any) -> Self:
        """The manifold of these constructor arguments, as `spec` writes them.

        Raises InputError for an argument that the class does not take.
        """
        try:
            inspect.signature(cls).bind(**arguments)
        except TypeError as error:
            raise invalid("arguments", f"those of {cls.__name__}", got=f"{', '.join(arguments)} ({error})") from error
        return cls(**arguments)

    @abstractmethod
    def _arguments(self) -> dict[str, Any]:
        """The constructor's own arguments, JSON-able."""

    def named(self, name: str, arguments: dict[str, Any]) -> Manifold:
        """The same manifold, which says of itself that the factory `name` makes it from these arguments."""
        other = copy.copy(self)
        other._registered = {"name": name, **arguments}
        return other

    def spec(self) -> dict[str, Any]:
        """Name and constructor arguments as a JSON-able dictionary; `construct.manifolds.from_spec` inverts
        it."""
        if self._registered is not None:
            return dict(self._registered)
        ambient = self.ambient if self.embedded else None
        return {"name": self.name, **self._arguments(), "ambient": ambient, "seed": self.seed}

    def __repr__(self) -> str:
        arguments = "".join(f"{key}={value}, " for key, value in self._arguments().items())
        return f"{type(self).__name__}({arguments}d={self.dim}, D={self.ambient}, reach={self.reach!r})"

    # -- the canonical form in R^k, written by each family ---------------------------------------------------

    @abstractmethod
    def _sample(self, n: int, generator: torch.Generator) -> Tensor:
        """(n, k), float64."""

    @abstractmethod
    def _project(self, y: Tensor) -> Tensor:
        """(..., k) -> (..., k)."""

    @abstractmethod
    def _tangent_basis(self, y: Tensor) -> Tensor:
        """(..., k) -> (..., k, d)."""

    @abstractmethod
    def _net(self, spacing: float) -> tuple[Tensor, float]:
        """Points (n, k), float64, and their proved radius."""

    def _covers(self) -> Iterator[tuple[Tensor, float]]:
        """Centres (n, k), float64, and their proved radius, with n increasing."""
        return iter(())

    @abstractmethod
    def _chart_inverse(self, centre: Tensor, frame: Tensor, y: Tensor) -> Tensor:
        """centre (..., k), frame (..., k, d), y (..., d) -> (..., k)."""

    @abstractmethod
    def _coordinates(self, y: Tensor) -> Tensor:
        """(..., k) -> (..., d)."""

    @abstractmethod
    def _point(self, u: Tensor) -> Tensor:
        """(..., d) -> (..., k)."""

    def _tangent_bound(self, centres: Tensor, frames: Tensor, radius: float) -> float | None:
        """centres (n, k), frames (n, k, d)."""
        return None

    def _fills_cube(self, centre: Tensor, frame: Tensor, scale: float) -> bool:
        """centre (k,), frame (k, d)."""
        return False

    def _affordable(self, counts: list[int], spacing: float) -> list[int]:
        """`counts` (points per axis of a net), unless their product is too large."""
        points = math.prod(counts)
        if points * self.ambient > LARGEST_NET:
            expected = f"large enough for a net of at most {LARGEST_NET} numbers"
            raise invalid("spacing", expected, got=f"{spacing:g}, which takes {points} points in R^{self.ambient}")
        return counts


def grid(axes: list[Tensor]) -> Tensor:
    """All combinations of the entries of one-dimensional axes, (n, len(axes)), the last axis fastest."""
    mesh = torch.meshgrid(*axes, indexing="ij")
    return torch.stack([part.reshape(-1) for part in mesh], dim=-1)


def tangent_vector(frame: Tensor, y: Tensor) -> Tensor:
    """frame @ y with broadcasting batch dimensions, (..., k, d), (..., d) -> (..., k)."""
    return (frame @ y.unsqueeze(-1)).squeeze(-1)


def safe_sqrt(t: Tensor) -> Tensor:
    """sqrt(t) for t > 0 and 0 elsewhere, with finite derivatives of every order (double where)."""
    inside = t > 0
    return torch.where(inside, torch.where(inside, t, 1.0).sqrt(), 0.0)
