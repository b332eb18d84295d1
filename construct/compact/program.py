"""The compact construction as a program: telescoping partition, one polynomial or spline per chart, meet in the middle.

    projection   Y.a = U^T x                                         (only where it saves parameters)
    charts       A.a = z;  R.b = lift (r^2 - dist^2);     FFN: clip a to [-1, 1]
    partition    A = (T3, T2), B.a = z;  R.a = 1 + s;     FFN: R.a = rho
    basis        the other atoms;  G.a = rho
    products     G.a *= 1 + kappa F(z_left), X likewise
    coefficients the last of these; G.b = sum c Phi(z_right);        FFN: a <= 0 but on G
    read-out     out.b = sum relu(a) b

With radii of their own the charts take the same heads and blocks: `lift`, what R.a begins with, carries their slopes. A
base, the constant beyond all balls, is the initial out.b, and the coefficients are those of P - base.

L = 4 + (most atoms in a factor) blocks, one more with projection: 5 for d <= 2 and degree <= 8, whatever epsilon.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from construct.arrays import Float, Int
from construct.compact.atoms import POWERS_FORM, POWERS_VALUE, Atom, atom_scale, basis_rules
from construct.compact.basis import network_bases
from construct.compact.geometry import ChartGeometry, chart_geometry
from construct.compact.layout import CompactLayout
from construct.local import LocalSpace, PiecewiseApproximator
from construct.program.compile import Program, Stage
from construct.program.ffn import Ffn
from construct.program.heads import A, B, Entries
from construct.program.layout import ONE
from construct.program.rules import EVERY, Rule, act, read

PROJECT_BELOW = 0.625  # project first when it leaves less than this share of the non-zeros: it costs a block


def compact_program(approximator: PiecewiseApproximator, position_code: str = "integer") -> Program:
    """The program of a blended approximator, with the basis and the way to the charts that cost least.

    Raises:
        InputError: a space that the network has no basis of, or a degree above 24.
    """
    atlas, space, base = approximator.atlas, approximator.space, approximator.base
    above = approximator.coefficients - space.constant(base) if base else approximator.coefficients
    coefficients = above.numpy()
    direct = _cheapest(chart_geometry(atlas, project=False), space, coefficients, position_code, base)
    manifold = atlas.manifold
    if manifold.frame.shape[1] == manifold.ambient:
        return direct
    projected = _cheapest(chart_geometry(atlas, project=True), space, coefficients, position_code, base)
    pays = projected.counts.nonzero_parameters < PROJECT_BELOW * direct.counts.nonzero_parameters
    return projected if pays else direct


def _cheapest(
    geometry: ChartGeometry, space: LocalSpace, coefficients: Float, position_code: str, base: float
) -> Program:
    """Over the network's bases of the space: the fewest blocks, then the fewest non-zeros."""
    programs = []
    for basis in network_bases(space):
        layout = CompactLayout(geometry, basis.product, position_code)
        programs.append(program_of(layout, basis.convert(coefficients), base))
    if len(programs) == 1:
        return programs[0]
    return min(programs, key=lambda p: (p.counts.blocks, p.counts.nonzero_parameters))


def program_of(layout: CompactLayout, coefficients: Float, base: float = 0.0) -> Program:
    """The program of a layout and the network's own coefficients (n, left, right), above the base."""
    stages = CompactStages(layout, coefficients, base)
    return Program(layout.tokens, stages.registers(), tuple(stages.all()))


@dataclass(frozen=True)
class CompactStages:
    """The stages, in the order of the proof; coefficients (n, left, right)."""

    layout: CompactLayout
    coefficients: Float
    base: float = 0.0

    @property
    def geometry(self) -> ChartGeometry:
        return self.layout.geometry

    def tokens(self, group: str) -> Int:
        return self.layout.tokens.tokens(group)

    def registers(self) -> dict[tuple[str, str], Float | float]:
        """A.b = 1, R.a = lift, R.b = lift (r^2 - |c|^2 - |box|^2), G.b = the constant coefficients; x.a = -origin and
        out.b = base, if not 0.

        The self-gated head of stage *partition* sends b to -b wherever a = 0, so the constants of G and the base start
        negated.
        """
        g = self.geometry
        offset = g.radius**2 - (g.centres**2).sum(axis=1) - (g.box**2).sum()
        sign = -1.0 if self.layout.powers else 1.0
        start: dict[tuple[str, str], Float | float] = {("x", A): -g.origin} if np.any(g.origin) else {}
        start |= {("A", B): 1.0} if self.layout.powers else {}
        start |= {("out", B): sign * self.base} if self.base else {}
        return start | {("R", A): g.lift, ("R", B): g.lift * offset, ("G", B): sign * self.coefficients[:, :, 0]}

    def all(self) -> Iterator[Stage]:
        if self.geometry.hull is not None:
            yield self.project()
        yield from (self.charts(), self.partition(), self.basis())
        last = self.layout.basis.middle_blocks
        for step in range(1, last):
            yield Stage(f"products {step}", tuple(self.products(step)))
        yield self.coefficient_stage(last)
        yield self.read_out()

    # -- stages -----------------------------------------------------------------------------------

    def project(self) -> Stage:
        hull = self.geometry.hull
        assert hull is not None
        j, k = np.nonzero(hull)
        return Stage("projection", (read(self.tokens("Y")[k], self.tokens("x")[j], {(A, A): hull[j, k]}),))

    def charts(self) -> Stage:
        """A.a = z = V^T (y - c)/scale on both twins, R.b = lift (r^2 - |y - c|^2).

        `a sum_j (B_j^2 - y_j^2)` comes from k broadcast heads `relu(a_t (y_j + B_j)) (B_j - y_j)`, open to every token
        with `a = lift > 0`, which are the R; what the input tokens hear is never read again. `2 lift c_j y_j` are
        linear reads.
        """
        g = self.geometry
        y = self.tokens("x" if g.hull is None else "Y")
        frames = g.scaled_frames  # (n, k, d)
        shift = -np.einsum("nkd,nk->nd", frames, g.centres)
        n, k, d = frames.shape
        chart, j, i = (axis.ravel() for axis in np.meshgrid(np.arange(n), np.arange(k), np.arange(d), indexing="ij"))
        carrier = np.abs(frames).argmax(axis=1)[chart, i] == j  # the read that also brings the constant -V^T c / scale
        weight, constant = frames[chart, j, i], np.where(carrier, shift[chart, i], 0.0)
        used = (weight != 0) | (constant != 0)
        both = self.tokens("A")[chart[used], i[used]].T  # (twins, reads)
        entries = {
            (A, A): np.broadcast_to(weight[used], both.shape),
            (A, ONE): np.broadcast_to(constant[used], both.shape),
        }
        far, near = np.nonzero(g.centres)
        lift = np.broadcast_to(g.lift, len(g.centres))
        rules = (
            read(both, y[j[used]], entries, share=True),
            read(self.tokens("R")[far], y[near], {(B, A): 2 * lift[far] * g.centres[far, near]}),
            act(EVERY, y, {(A, A): 1.0, (A, ONE): g.box}, {(B, A): -1.0, (B, ONE): g.box}),
        )
        return Stage("charts", rules, Ffn("clip"))

    def partition(self) -> Stage:
        """A = (T3, T2) by `relu(1 - a a) (-4 a, -2 b)`;  R.a = 1 + sum of earlier neighbours' w, then rho."""
        g, r = self.geometry, self.tokens("R")
        slope = g.slope
        rules: list[Rule] = []
        if self.layout.powers:
            rules.append(act(EVERY, EVERY, POWERS_FORM, POWERS_VALUE, same=("t",)))
            rules.append(read(self.tokens("B"), self.layout.held("A"), {(A, A): 1.0}))
        earlier, later = g.neighbours.T
        rules.append(act(r[later], r[earlier], {(ONE, B): 1.0}, {(A, ONE): slope}))
        return Stage("partition of unity", tuple(rules), Ffn("telescoping_weight", ("R",), {"slope": slope}))

    def basis(self) -> Stage:
        """The atoms beyond T3 from (T3, T2), and rho from R into every G of its chart."""
        first = self.layout.held("A")
        rules = [act(self.layout.held(h), first, form, value) for h, form, value in basis_rules(self.layout.indices)]
        targets = self.tokens("G")
        sources = np.broadcast_to(self.tokens("R")[:, None], targets.shape)
        return Stage("basis", (*rules, read(targets, sources, {(A, A): 1.0}, share=True)))

    def products(self, step: int) -> Iterator[Rule]:
        """One atom more in every factor."""
        for g, atoms in enumerate(self.layout.basis.left):
            if len(atoms) >= step:
                yield self._multiply(self.tokens("G")[:, g], atoms[step - 1])
        for position, index in enumerate(self.layout.products):
            atoms, token = self.layout.basis.right[index], self.tokens("X")[:, position]
            if step == 1:
                yield from self._start(token, atoms[0], A)
                yield from self._start(token, atoms[-1], B)
            elif step < len(atoms):
                yield self._multiply(token, atoms[step - 1])

    def coefficient_stage(self, step: int) -> Stage:
        """The last atoms and the coefficients; afterwards only G has a > 0."""
        rules = (*self.products(step), *self._coefficients())
        return Stage("coefficients", rules, Ffn("silence", ("G",)))

    def read_out(self) -> Stage:
        """out.b = sum over all tokens of relu(a_s) b_s."""
        return Stage("read-out", (act(self.tokens("out"), EVERY, {(ONE, A): 1.0}, {(B, B): 1.0}),))

    # -- factors ----------------------------------------------------------------------------------

    def _multiply(self, token: Int, atom: Atom) -> Rule:
        """a_t *= 1 + phi, 1 + (1 + phi) phi / 2 (squared), or 1 + relu(z - knot), where a_t >= 0."""
        source, place = self.layout.place(atom)
        if atom.knot is not None:
            return act(token, source, {(A, A): 1.0, (A, ONE): -atom.knot}, {(A, ONE): 1.0})
        kappa = atom_scale(atom.index)
        if atom.squared:
            return act(token, source, {(A, ONE): 1.0, (A, place): kappa}, {(A, place): kappa / 2})
        return act(token, source, {(A, ONE): 1.0}, {(A, place): kappa})

    def _start(self, token: Int, atom: Atom, register: str) -> Iterator[Rule]:
        """X.a = 1 + phi of the first atom; X.b = F of the last; knots as relu(z - knot)."""
        source, place = self.layout.place(atom)
        first = register == A
        if atom.knot is not None:
            yield act(token, source, {(ONE, A): 1.0, (ONE, ONE): -atom.knot}, {(register, ONE): 1.0})
        elif atom.squared:
            kappa = atom_scale(atom.index)
            yield act(token, source, {(ONE, ONE): 1.0, (ONE, place): kappa}, {(register, place): kappa / 2})
        else:
            weight = atom_scale(atom.index) if first else 1.0
            one: Entries = {(register, ONE): 1.0} if first else {}
            yield read(token, source, {(register, place): weight, **one})
            return
        if first or atom.squared:
            yield read(token, source, {(register, ONE): 1.0})

    def _coefficients(self) -> Iterator[Rule]:
        """G_g.b += sum_h c[g, h] Phi_h: one rule per source token, both registers at once."""
        targets = self.tokens("G")
        linear: dict[tuple[int, ...], tuple[Int, dict[str, Float]]] = {}
        for index, atoms in enumerate(self.layout.basis.right):
            weights = self.coefficients[:, :, index]
            used = weights != 0
            if len(atoms) == 1 and atoms[0].knot is None:
                source, place = self.layout.place(atoms[0])
                linear.setdefault(tuple(source), (source, {}))[1][place] = weights
            elif len(atoms) == 1:
                source, _ = self.layout.place(atoms[0])
                hinge: Entries = {(ONE, A): 1.0, (ONE, ONE): -float(atoms[0].knot or 0.0)}
                yield act(targets[used], _spread(source, used), hinge, {(B, ONE): weights[used]})
            elif atoms:
                source = self.tokens("X")[:, self.layout.products.index(index)]
                yield act(targets[used], _spread(source, used), {(ONE, A): 1.0}, {(B, B): weights[used]})
        for source, functions in linear.values():
            used = np.any(np.stack(list(functions.values())) != 0, axis=0)
            yield read(targets[used], _spread(source, used), {(B, at): w[used] for at, w in functions.items()})


def _spread(source: Int, used: Float) -> Int:
    """The source (n,) of each wanted target (n, left)."""
    return np.broadcast_to(source[:, None], used.shape)[used]
