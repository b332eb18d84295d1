"""The compact construction: telescoping partition, one polynomial (or spline) per chart, meet in the middle.

Tokens (theory section 8): `x_j`; `out`; optionally `Y`, the coordinates of the affine hull; per chart and coordinate
`A, A'` (twins), `B`, `C`; product tokens `X`; per chart the cut-off `R` and the coefficient tokens `G_g`.

    block 0  project      Y.a = U^T x                                         (only where it saves parameters)
    block 1  charts       A.a = z;  R.b = r^2 - dist^2;            FFN: clip a to [-1, 1]
    block 2  powers       A = (T3, T2), B.a = z;  R.a = 1 + s;     FFN: R.a = rho
    block 3  basis        F_4 .. F_8;  G.a = rho
    middle   products     G.a *= 1 + kappa F(z_left), X likewise;  last: G.b = sum c Phi(z_right);  FFN: a <= 0 but on G
    last     read-out     out.b = sum relu(a) b

L = 4 + (most atoms in a factor) blocks, one more with projection: 5 for d <= 2 and degree <= 8, whatever epsilon.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from construct.arrays import Float, Int
from construct.compact.basis import Atom, ProductBasis, atom_scale
from construct.program import ffn, heads
from construct.program.compile import NetworkBuilder, largest_outside
from construct.program.heads import ONE, A, B, Entries
from construct.program.layout import TokenGroup, TokenLayout
from construct.progress import Progress
from construct.transformer.weights import Heads

# where the tokens of a coordinate keep F_k: (group, register)
PLACES = {
    1: ("B", A), 2: ("A", B), 3: ("A", A), 4: ("C", B), 5: ("C", A), 6: ("T", A), 7: ("B", B), 8: ("T", B),
}  # fmt: skip
REGISTERS = ("a", "b")


@dataclass(frozen=True)
class ChartGeometry:
    """What the network needs of an atlas, in the coordinates that its first chart block reads.

    centres (n, k), frames (n, k, d), box (k,) bound on |coordinate|; radius, core, scale as in `Atlas`; neighbours
    (p, 2), m < n; hull (D, k) with orthonormal columns when the coordinates are `hull^T x`, else None.
    """

    centres: Float
    frames: Float
    box: Float
    radius: float
    core: float
    scale: float
    neighbours: Int
    hull: Float | None

    @property
    def charts(self) -> int:
        return int(self.centres.shape[0])

    @property
    def dim(self) -> int:
        return int(self.frames.shape[2])


@dataclass(frozen=True)
class CompactDesign:
    """Everything that decides the layout: how many of what, before any weight is assigned."""

    ambient: int
    geometry: ChartGeometry
    basis: ProductBasis
    code_name: str = "integer"

    @cached_property
    def indices(self) -> set[int]:
        return self.basis.atom_indices()

    @property
    def powers(self) -> bool:
        """T2, T3 are needed, so A is transformed in place and B keeps z."""
        return bool(self.indices - {1})

    @cached_property
    def products(self) -> list[int]:
        """Right functions of more than one atom: they get a token X."""
        return [i for i, atoms in enumerate(self.basis.right) if len(atoms) > 1]

    @property
    def middle_blocks(self) -> int:
        return self.basis.middle_blocks

    @property
    def blocks(self) -> int:
        return 4 + self.middle_blocks + (self.geometry.hull is not None)

    def coefficient_reads(self, coefficients: int) -> tuple[int, bool]:
        """Heads per chart that bring `coefficients` coefficients, and whether each has data in its ReLU.

        A head brings all functions of one source token to one `G`; knots and products are read one at a time.
        """
        basis = self.basis
        single = [i for i, atoms in enumerate(basis.right) if len(atoms) == 1 and atoms[0].knot is None]
        sources = {(atoms[0].coordinate, PLACES[atoms[0].index][0]) for atoms in (basis.right[i] for i in single)}
        others = sum(1 for atoms in basis.right if atoms) - len(single)
        share = coefficients / (len(basis.left) * len(basis.right))  # of all (left, right) that the space allows
        full = len(basis.left) * (len(sources) + others)
        return max(1, round(full * min(1.0, 1.35 * share if single else share))), others > len(single)

    @cached_property
    def layout(self) -> TokenLayout:
        n, d = self.geometry.charts, self.geometry.dim
        per_chart = ("chart", "coordinate")
        groups = [
            TokenGroup("x", (self.ambient,), ("j",), "input coordinates"),
            TokenGroup("out", (1,), (), "output in b"),
        ]
        if self.geometry.hull is not None:
            groups.append(TokenGroup("Y", (self.geometry.centres.shape[1],), ("k",), "coordinates of the affine hull"))
        twins = 2 if self.indices & {6, 8} else 1
        groups.append(TokenGroup("A", (n, d, twins), (*per_chart, "twin"), "z, then (T3, T2); twin (F6, F8)"))
        if self.powers:
            groups.append(TokenGroup("B", (n, d), per_chart, "(z, F7)"))
        if self.indices & {4, 5}:
            groups.append(TokenGroup("C", (n, d), per_chart, "(F5, F4)"))
        if self.products:
            groups.append(TokenGroup("X", (n, len(self.products)), ("chart", "product"), "products of right factors"))
        groups.append(TokenGroup("R", (n,), ("chart",), "cut-off: r^2 - dist^2, then rho"))
        groups.append(TokenGroup("G", (n, len(self.basis.left)), ("chart", "left"), "rho Psi in a, coefficients in b"))
        return TokenLayout(tuple(groups), self.code_name)

    def place(self, atom: Atom) -> tuple[Int, int]:
        """Tokens (n,) and register that hold the atom's function (its coordinate z, for a knot)."""
        group, register = PLACES[atom.index] if atom.knot is None else ("A", A)
        if atom.knot is None and not self.powers:
            group, register = "A", A
        if group in ("A", "T"):
            return self.layout.tokens("A")[:, atom.coordinate, 1 if group == "T" else 0], register
        return self.layout.tokens(group)[:, atom.coordinate], register


class CompactAssembler:
    """Assigns the weights of a design, block by block."""

    def __init__(
        self, design: CompactDesign, coefficients: Float, box: Float, progress: Progress | None = None
    ) -> None:
        """coefficients (n, left, right); box (D,) half-widths of the admissible inputs."""
        self.design, self.geometry, self.layout = design, design.geometry, design.layout
        self.coefficients = coefficients
        self.builder = NetworkBuilder(self.layout, box, progress)

    def assemble(self) -> NetworkBuilder:
        """All blocks, in the order of the proof."""
        self._registers()
        if self.geometry.hull is not None:
            self._project()
        self._charts()
        self._powers()
        self._basis()
        for step in range(1, self.design.middle_blocks + 1):
            self._middle(step, last=step == self.design.middle_blocks)
        self._read_out()
        return self.builder

    # -- blocks -----------------------------------------------------------------------------------

    def _registers(self) -> None:
        g, layout = self.geometry, self.layout
        if self.design.powers:
            self.builder.set(layout.tokens("A"), "b", 1.0)
        self.builder.set(layout.tokens("R"), "a", 1.0)
        offset = g.radius**2 - (g.centres**2).sum(axis=1) - (self._box() ** 2).sum()
        self.builder.set(layout.tokens("R"), "b", offset)
        # block 2 sends b to -b wherever a = 0, so the constants of G start negated
        sign = -1.0 if self.design.powers else 1.0
        self.builder.set(layout.tokens("G"), "b", sign * self.coefficients[:, :, 0])

    def _inputs(self) -> Int:
        return self.layout.tokens("x" if self.geometry.hull is None else "Y")

    def _box(self) -> Float:
        """Half-widths of what the chart block reads: the builder's own bound for projected coordinates."""
        if self.geometry.hull is None:
            return self.builder.box
        hull = np.abs(self.geometry.hull).T @ self.builder.box
        return np.asarray(hull * (1 + 1e-9))

    def _project(self) -> None:
        hull = self.geometry.hull
        assert hull is not None
        target, source = np.broadcast_arrays(self.layout.tokens("Y")[None, :], self.layout.tokens("x")[:, None])
        keep = hull != 0
        self.builder.block([self._read(target[keep], source[keep], {(A, A): hull[keep]})], stage="projection")

    def _charts(self) -> None:
        """A.a = z on both twins, R.b = r^2 - |x - c|^2.

        `sum_j (B_j^2 - x_j^2)` comes from k broadcast heads `relu(a_t (x_j + B_j)) (B_j - x_j)`, open to every token
        with `a = 1`, which are the R; what the input tokens hear is never read again. `2 c_j x_j` are linear reads.
        """
        g, layout = self.geometry, self.layout
        inputs, box = self._inputs(), self._box()
        frames = g.frames / g.scale  # (n, k, d)
        shift = -np.einsum("nkd,nk->nd", frames, g.centres)
        carrier = np.abs(frames).argmax(axis=1)  # the read that also brings the constant -V^T c / scale
        parts = []
        n, k, d = frames.shape
        chart, j, i = (axis.ravel() for axis in np.meshgrid(np.arange(n), np.arange(k), np.arange(d), indexing="ij"))
        weight = frames[chart, j, i]
        constant = np.where(carrier[chart, i] == j, shift[chart, i], 0.0)
        keep = (weight != 0) | (constant != 0)
        chart, j, i, weight, constant = (v[keep] for v in (chart, j, i, weight, constant))
        targets = layout.tokens("A")[chart, i]
        parts.append(self._read_twins(targets, inputs[j], {(A, A): weight, (A, ONE): constant}))
        chart, j = (axis.ravel() for axis in np.meshgrid(np.arange(n), np.arange(k), indexing="ij"))
        keep = g.centres[chart, j] != 0
        chart, j = chart[keep], j[keep]
        parts.append(self._read(layout.tokens("R")[chart], inputs[j], {(B, A): 2 * g.centres[chart, j]}))
        forms = heads.form(k, {(A, A): 1.0, (A, ONE): box})
        values = heads.value(k, {(B, A): -1.0, (B, ONE): box})
        gate = heads.point(layout, inputs)
        parts.append(heads.interaction(layout, forms, values, self.builder.bound, target=None, source=gate))
        self.builder.block(parts, lambda _: ffn.clip(layout), stage="charts")

    def _powers(self) -> None:
        """A = (T3, T2) by one self-gated head `relu(1 - a a) (-4 a, -2 b)`; R.a = 1 + sum of earlier neighbours' w."""
        g, layout, bound = self.geometry, self.layout, self.builder.bound
        parts = []
        if self.design.powers:
            self_form = heads.form(1, {(ONE, ONE): 1.0, (A, A): -1.0})
            parts.append(heads.shifted(layout, self_form, heads.value(1, {(A, A): -4.0, (B, B): -2.0}), bound))
            parts.append(self._read(layout.tokens("B"), layout.tokens("A")[:, :, 0], {(A, A): 1.0}))
        slope = 1.0 / (g.radius**2 - g.core**2)
        earlier, later = g.neighbours[:, 0], g.neighbours[:, 1]
        count = earlier.size
        tokens = layout.tokens("R")
        forms, values = heads.form(count, {(ONE, B): 1.0}), heads.value(count, {(A, ONE): slope})
        parts.append(self._pairs(tokens[later], tokens[earlier], forms, values, bound))
        span = layout.span("R")
        self.builder.block(
            parts,
            lambda state: ffn.telescoping_weight(
                layout, span, slope=slope, bound=2 + largest_outside(layout, state, span)
            ),
            stage="partition of unity",
        )

    def _basis(self) -> None:
        """F_4 .. F_8 from (T3, T2), and rho from R into every G of its chart."""
        layout, bound, indices = self.layout, self.builder.bound, self.design.indices
        parts = []
        first = layout.tokens("A")[:, :, 0]
        count = first.size
        if indices & {4, 5}:
            forms = heads.form(count, {(ONE, ONE): 1.0, (ONE, B): -1.0})
            values = heads.value(count, {(A, A): float(5 in indices), (B, B): float(4 in indices)})
            parts.append(self._pairs(layout.tokens("C"), first, forms, values, bound))
        if indices & {6, 8}:
            forms = heads.form(count, {(A, A): 1.0})
            values = heads.value(count, {(A, ONE): 2.0 * (6 in indices), (B, B): 4.0 * (8 in indices)})
            parts.append(self._pairs(layout.tokens("A")[:, :, 1], first, forms, values, bound))
        if 7 in indices:
            forms = heads.form(count, {(ONE, ONE): 1.0, (A, A): 1.0})
            parts.append(self._pairs(layout.tokens("B"), first, forms, heads.value(count, {(B, A): 1.0}), bound))
        targets = layout.tokens("G")
        parts.append(self._read_runs(targets, layout.tokens("R"), {(A, A): 1.0}))
        self.builder.block(parts, stage="basis")

    def _middle(self, step: int, *, last: bool) -> None:
        """One atom more in every left factor and product token; in the last of these blocks the coefficients."""
        bound = self.builder.bound
        parts = [self._multiply(self.layout.tokens("G")[:, g], atoms[step - 1], bound) for g, atoms in self._left(step)]
        for position, right in enumerate(self.design.products):
            atoms = self.design.basis.right[right]
            token = self.layout.tokens("X")[:, position]
            if step == 1:
                parts.extend(self._start_product(token, atoms, bound))
            elif step < len(atoms):
                parts.append(self._multiply(token, atoms[step - 1], bound))
        if not last:
            self.builder.block(parts, stage=f"products {step}")
            return
        parts.extend(self._coefficient_heads(bound))
        span = self.layout.span("G")
        self.builder.block(
            parts,
            lambda state: ffn.silence(self.layout, span, largest_outside(self.layout, state, span)),
            stage="coefficients",
        )

    def _read_out(self) -> None:
        """out.b = sum over all tokens of relu(a_s) b_s; only G has a > 0."""
        gate = heads.point(self.layout, self.layout.tokens("out"))
        forms, values = heads.form(1, {(ONE, A): 1.0}), heads.value(1, {(B, B): 1.0})
        head = heads.interaction(self.layout, forms, values, self.builder.bound, target=gate, source=None)
        self.builder.block([head], stage="read-out")

    # -- heads ------------------------------------------------------------------------------------

    def _left(self, step: int) -> list[tuple[int, tuple[Atom, ...]]]:
        return [(g, atoms) for g, atoms in enumerate(self.design.basis.left) if len(atoms) >= step]

    def _multiply(self, token: Int, atom: Atom, bound: Float) -> Heads:
        """a_t += relu(a_t) phi_s, relu(a_t (1 + phi_s)) phi_s / 2 or relu(a_t (z_s - knot)), where a_t >= 0."""
        source, register = self.design.place(atom)
        count = token.size
        if atom.squared:
            forms = heads.form(count, {(A, ONE): 1.0, (A, register): atom_scale(atom.index)})
            values = heads.value(count, {(A, register): atom_scale(atom.index) / 2})
        elif atom.knot is None:
            forms = heads.form(count, {(A, ONE): 1.0})
            values = heads.value(count, {(A, register): atom_scale(atom.index)})
        else:
            forms = heads.form(count, {(A, A): 1.0, (A, ONE): -atom.knot})
            values = heads.value(count, {(A, ONE): 1.0})
        return self._pairs(token, source, forms, values, bound)

    def _start_product(self, token: Int, atoms: tuple[Atom, ...], bound: Float) -> list[Heads]:
        """X.a = 1 + kappa F of the first atom, X.b = F of the last; knots as relu(z - knot)."""
        parts = []
        for register, atom in ((A, atoms[0]), (B, atoms[-1])):
            source, place = self.design.place(atom)
            constant = 1.0 if register == A else 0.0
            scale = atom_scale(atom.index) if atom.knot is None else 1.0
            if atom.squared:
                forms = heads.form(token.size, {(ONE, ONE): 1.0, (ONE, place): scale})
                values = heads.value(token.size, {(register, place): scale / 2})
                parts += [
                    self._pairs(token, source, forms, values, bound),
                    self._read(token, source, {(register, ONE): 1.0}),
                ]
                continue
            if atom.knot is None:
                weight = scale if register == A else 1.0
                parts.append(self._read(token, source, {(register, place): weight, (register, ONE): constant}))
                continue
            forms = heads.form(token.size, {(ONE, A): 1.0, (ONE, ONE): -atom.knot})
            parts.append(self._pairs(token, source, forms, heads.value(token.size, {(register, ONE): 1.0}), bound))
            if constant:
                parts.append(self._read(token, source, {(register, ONE): constant}))
        return parts

    def _coefficient_heads(self, bound: Float) -> list[Heads]:
        """G_g.b += sum_h c[g, h] Phi_h: one head per source token, both registers at once."""
        linear: dict[tuple[int, ...], tuple[Int, dict[int, int]]] = {}
        parts = []
        for index, atoms in enumerate(self.design.basis.right):
            if len(atoms) == 1 and atoms[0].knot is None:
                source, register = self.design.place(atoms[0])
                linear.setdefault(tuple(source), (source, {}))[1][register] = index
            elif len(atoms) == 1:
                source, _ = self.design.place(atoms[0])
                parts.append(
                    self._weighted(source, index, {(ONE, A): 1.0, (ONE, ONE): -float(atoms[0].knot or 0.0)}, ONE, bound)
                )
            elif atoms:
                source = self.layout.tokens("X")[:, self.design.products.index(index)]
                parts.append(self._weighted(source, index, {(ONE, A): 1.0}, B, bound))
        targets = self.layout.tokens("G")
        for source, functions in linear.values():
            weights = {(B, register): self.coefficients[:, :, index] for register, index in functions.items()}
            used = np.any(np.stack(list(weights.values())) != 0, axis=0)
            sources = np.broadcast_to(source[:, None], targets.shape)
            parts.append(self._read(targets[used], sources[used], {key: w[used] for key, w in weights.items()}))
        return parts

    def _weighted(self, source: Int, index: int, entries: Entries, register: int, bound: Float) -> Heads:
        """G_g.b += c[g, index] relu(form) (1, or b_s) for all g with a coefficient there."""
        targets, weights = self.layout.tokens("G"), self.coefficients[:, :, index]
        used = weights != 0
        sources = np.broadcast_to(source[:, None], targets.shape)[used]
        count = int(used.sum())
        values = heads.value(count, {(B, register): weights[used]})
        return self._pairs(targets[used], sources, heads.form(count, entries), values, bound)

    def _pairs(self, target: Int, source: Int, forms: Float, values: Float, bound: Float) -> Heads:
        gates = {"target": heads.point(self.layout, target), "source": heads.point(self.layout, source)}
        return heads.interaction(self.layout, forms, values, bound, **gates)

    def _read(self, target: Int, source: Int, entries: Entries) -> Heads:
        target, source = np.asarray(target).ravel(), np.asarray(source).ravel()
        values = heads.value(target.size, entries)
        gates = {"target": heads.point(self.layout, target), "source": heads.point(self.layout, source)}
        return heads.linear_read(self.layout, values, **gates)

    def _read_twins(self, targets: Int, source: Int, entries: Entries) -> Heads:
        """Linear reads into all twins of `targets` (m, twins), which lie side by side."""
        if targets.shape[1] == 1:
            return self._read(targets[:, 0], source, entries)
        values = heads.value(source.size, entries)
        if not self.layout.code.exact:
            parts = [self._read(targets[:, twin], source, entries) for twin in range(targets.shape[1])]
            return Heads.stack(parts, self.layout.embedding_dim)
        gates = {"target": heads.pair(self.layout, targets[:, 0]), "source": heads.point(self.layout, source)}
        return heads.linear_read(self.layout, values, **gates)

    def _read_runs(self, targets: Int, source: Int, entries: Entries) -> Heads:
        """Linear reads of source n into the run targets[n, :]; the integer code serves two tokens with one head."""
        run = targets.shape[1]
        paired = 2 * (run // 2) if self.layout.code.exact else 0
        parts = []
        if paired:
            pairs = np.stack([targets[:, 0:paired:2], targets[:, 1:paired:2]], axis=-1)
            parts.append(self._read_twins(pairs.reshape(-1, 2), np.repeat(source, paired // 2), entries))
        if run > paired:
            parts.append(self._read(targets[:, paired:], np.repeat(source, run - paired), entries))
        return Heads.stack(parts, self.layout.embedding_dim)
