"""Tokens of the compact network: which groups there are, and where a function is kept.

`x_j`; `out`; optionally `Y`, the coordinates of the affine hull; per chart and coordinate the holders of atoms (`A` and
its twin, `B`, `C`, ...); product tokens `X`; per chart the cut-off `R` and the coefficient tokens `G_g`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from construct.arrays import Int
from construct.compact.atoms import TWINS, Atom, atom_rule, has_twin, holder_role, holders
from construct.compact.basis import ProductBasis
from construct.compact.geometry import ChartGeometry
from construct.program.heads import A
from construct.program.layout import TokenGroup, TokenLayout


@dataclass(frozen=True)
class CompactLayout:
    """The layout of a geometry and a basis, and what stages ask of it."""

    geometry: ChartGeometry
    basis: ProductBasis
    position_code: str = "integer"

    @cached_property
    def indices(self) -> set[int]:
        """Degrees of the polynomial atoms that occur."""
        return self.basis.atom_indices()

    @property
    def powers(self) -> bool:
        """T2, T3 are needed, so A is transformed in place and B keeps z."""
        return bool(self.indices - {1})

    @cached_property
    def products(self) -> list[int]:
        """Right functions of more than one atom: they get a token X."""
        return [i for i, atoms in enumerate(self.basis.right) if len(atoms) > 1]

    @cached_property
    def holders(self) -> tuple[str, ...]:
        """Holders besides A and its twin; B keeps z wherever A does not."""
        return holders(self.indices | {1}) if self.powers else ()

    @cached_property
    def twins(self) -> int:
        """2 where A has a twin."""
        return 1 + has_twin(self.indices)

    @cached_property
    def tokens(self) -> TokenLayout:
        n, d = self.geometry.charts, self.geometry.dim
        per_chart = ("chart", "coordinate")
        groups = [
            TokenGroup("x", (self.geometry.inputs.size,), ("j",), "input coordinates"),
            TokenGroup("out", (1,), (), "output in b"),
        ]
        if self.geometry.hull is not None:
            groups.append(TokenGroup("Y", (self.geometry.centres.shape[1],), ("k",), "coordinates of the affine hull"))
        role = f"z, then {holder_role(TWINS[0])}" if self.powers else "z"
        role += f"; twin {holder_role(TWINS[1])}" if self.twins == 2 else ""
        groups.append(TokenGroup("A", (n, d, self.twins), (*per_chart, "twin"), role))
        for holder in self.holders:
            groups.append(TokenGroup(holder, (n, d), per_chart, holder_role(holder)))
        if self.products:
            groups.append(TokenGroup("X", (n, len(self.products)), ("chart", "product"), "products of right factors"))
        groups.append(TokenGroup("R", (n,), ("chart",), "cut-off: r^2 - dist^2, then rho"))
        groups.append(TokenGroup("G", (n, len(self.basis.left)), ("chart", "left"), "rho Psi in a, coefficients in b"))
        return TokenLayout(tuple(groups), self.position_code)

    def held(self, holder: str) -> Int:
        """Tokens (n, d) of a holder."""
        if holder in TWINS:
            return self.tokens.tokens("A")[:, :, TWINS.index(holder)]
        return self.tokens.tokens(holder)

    def place(self, atom: Atom) -> tuple[Int, str]:
        """Tokens (n,) and register that hold the atom's function (its coordinate z, for a knot)."""
        rule = atom_rule(atom.index) if atom.knot is None else None
        if rule is None or not self.powers:
            return self.held("A")[:, atom.coordinate], A
        return self.held(rule.holder)[:, atom.coordinate], rule.register
