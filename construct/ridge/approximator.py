"""The ridge approximator: Chebyshev polynomials of integer linear forms in a few input coordinates.

    T(x) = c_0 + sum_t c_t (1 + T_p(clip(delta + <alpha_t, v y(x)>, -1, 1)))

Ridge lemma **[ours]**: over the principal lattice `{alpha >= 0, |alpha|_1 <= p}` the functions `g(delta + <alpha,
y>)`, g a polynomial of degree p, span all polynomials of degree at most p in y if no derivative `g^(l)(delta)`, l =
1..p, vanishes (and g(delta) does not, or there is a constant besides). Proof: `g(delta + <alpha, y>) = sum_l
g^(l)(delta)/l! <alpha, y>^l` is a polynomial of degree p in alpha, and the principal lattice of order p is unisolvent
for these: a functional that kills all members of the lattice kills all real alpha, hence every homogeneous part
`<alpha, y>^l`, and powers of linear forms span all forms. Restricted to M, any largest independent subset is a basis
of the restricted polynomials.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from construct.arrays import Float, Int
from construct.manifolds import Manifold
from construct.progress import tick
from construct.ridge.coordinates import Coordinates
from construct.ridge.directions import Directions
from construct.ridge.maps import chain, chebyshev, shift_of
from construct.validation import coefficients_of, invalid, numeric, real

CHUNK_ENTRIES = 2**22
MOST_MEMBERS = 2**20  # of a family, each a token


@dataclass(frozen=True, eq=False)
class RidgeBasis:
    """The atoms `1 + T_p(clip(delta + <alpha, v y>, -1, 1))` of some members of a family of directions.

    Without a shift, delta = 0, they are even (p even) or, but for the 1, odd functions of y, and span the polynomials
    of that parity alone: half as many atoms are enough for a target that has it.

    Attributes:
        manifold: M.
        coordinates: y, of which there are k.
        degree: p.
        family: the directions that have numbers.
        numbers: (n,) those that are used, increasing.
        scales: (k,) v, positive, such that `|<alpha, v y>| <= 1 - delta` on M for all of the family.
        shifted: whether delta is `shift_of(p)`, else 0.
    """

    manifold: Manifold
    coordinates: Coordinates
    degree: int
    family: Directions
    numbers: Int
    scales: Float
    shifted: bool = True

    def __post_init__(self) -> None:
        for name, kind in (("manifold", Manifold), ("coordinates", Coordinates), ("family", Directions)):
            if not isinstance(getattr(self, name), kind):
                raise invalid(name, f"an object of the kind {kind.__name__}", getattr(self, name))
        chain(self.degree)
        self.coordinates.check(self.manifold.ambient)
        k, count = self.coordinates.count, self.family.count
        if count > MOST_MEMBERS:
            raise invalid("family", f"one of at most {MOST_MEMBERS:,} members", got=f"{self.family!r} of {count:,}")
        numeric(self.family.vectors, "family", count, k)
        numbers = numeric(self.numbers, "numbers", None, whole=True)
        if (np.diff(numbers) <= 0).any() or (numbers.size and not (numbers[0] >= 0 and numbers[-1] < count)):
            raise invalid("numbers", f"increasing numbers below {count}", numbers)
        if not (numeric(self.scales, "scales", k) > 0).all():
            raise invalid("scales", f"positive numbers ({k},)", self.scales)
        if not isinstance(self.shifted, bool):
            raise invalid("shifted", "True or False", self.shifted)

    @property
    def shift(self) -> float:
        """delta."""
        return shift_of(self.degree) if self.shifted else 0.0

    @property
    def count(self) -> int:
        """Number of directions that are used."""
        return len(self.numbers)

    @cached_property
    def directions(self) -> Float:
        """(n, k) the vectors alpha."""
        return self.family.vectors[self.numbers]

    def atoms(self, y: Tensor) -> Tensor:
        """Of points with coordinates y (P, k) -> (P, n)."""
        forms = (y * torch.from_numpy(self.scales)) @ torch.from_numpy(self.directions).T
        return 1 + chebyshev((self.shift + forms).clamp(-1.0, 1.0), self.degree)

    def subset(self, chosen: Int) -> RidgeBasis:
        """The same with some of the numbers, (m,) places in `numbers`."""
        return replace(self, numbers=np.sort(self.numbers[chosen]))


@dataclass(frozen=True, eq=False)
class RidgeApproximator:
    """A combination of the atoms of a basis.

    Attributes:
        basis: its directions are the tokens of the network.
        coefficients: (n,), finite; those that are 0 are not stored.
        constant: c_0.
        residual: largest error on the points of the fit, None when unknown.
    """

    basis: RidgeBasis
    coefficients: Tensor
    constant: float
    residual: float | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.basis, RidgeBasis):
            raise invalid("basis", "a RidgeBasis", self.basis)
        coefficients_of(self.coefficients, "coefficients", self.basis.count)
        object.__setattr__(self, "constant", real(self.constant, "constant"))

    @property
    def manifold(self) -> Manifold:
        return self.basis.manifold

    @property
    def degree(self) -> int:
        """p."""
        return self.basis.degree

    @property
    def parameters(self) -> int:
        """Number of coefficients that are not 0, that of the constant included."""
        return int(self.coefficients.count_nonzero()) + (self.constant != 0)

    def __call__(self, x: Tensor) -> Tensor:
        """x (P, D) float64 -> (P,)."""
        used = self.coefficients.nonzero()[:, 0]
        basis, weights = self.basis.subset(used.numpy()), self.coefficients[used]
        step = max(256, CHUNK_ENTRIES // max(1, basis.count))
        parts = []
        for k in range(0, len(x), step):
            tick()
            y = basis.coordinates.of(x[k : k + step].double())
            parts.append(self.constant + basis.atoms(y) @ weights)
        return torch.cat(parts) if parts else x.new_zeros(0)
