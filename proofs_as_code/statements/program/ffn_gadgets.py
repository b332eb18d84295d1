"""What each feed-forward gadget is said to add, as formulas over the rationals, and where these bend.

A gadget acts on each token alone: inside its range of tokens it adds `formula(a, b)` to the registers (a, b), outside
it adds nothing for data within `outside` (silence: it pushes a to at most 0). Formulas are piecewise linear; `kinks`
lists points on every line where they bend and on both sides of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from flint import fmpq

from construct.program import ffn
from construct.program.constants import range_constant
from construct.program.layout import ONE as CONSTANT
from construct.program.layout import TokenLayout
from construct.transformer.weights import FeedForward
from proofs_as_code.rational import ZERO, rational

Span = tuple[int, int]
Point = tuple[fmpq, fmpq]
ONE = fmpq(1)
FREE = 2.0**30  # data outside the range that has no bound: this stands for any


@dataclass(frozen=True)
class Knobs:
    """Numbers of a gadget: scale > 0 (of a bump, limit of a clip, slope), bound > 0 on the data outside the range.

    square: a power of two, r^2 of the ramp, whose inverse is exact; doublings: of the ramp.
    """

    scale: float
    bound: float
    square: float
    doublings: int


def everything(knobs: Knobs) -> float:
    return FREE


Build = Callable[[TokenLayout, Span, Knobs], FeedForward]


def library(
    name: str,
    numbers: Callable[[Knobs], dict[str, Any]],
    outside: Callable[[Knobs], float] = everything,
    *,
    gated: bool = True,
) -> Build:
    """The library's weights of a gadget, with the constant that its table finds for data within `outside`."""

    def build(tokens: TokenLayout, span: Span, knobs: Knobs) -> FeedForward:
        gadget, given, where = ffn.GADGETS[name], numbers(knobs), span if gated else None
        silenced = gadget.silenced(lambda row: outside(knobs), given)
        return gadget.build(tokens, where, range_constant(tokens.code, where, silenced), **given)

    return build


@dataclass(frozen=True)
class Gadget:
    """A feed-forward gadget and what is claimed of it.

    claim, latex: of its formula; build: the library's weights; formula: what is added to (a, b); kinks: see above;
    outside: bound on |a|, |b| outside the range; peak: largest value that the gate has to silence there, and a point
    where it occurs; layers: of the network; positive: the formula holds for a >= 0 only.
    """

    name: str
    claim: str
    latex: str
    build: Build
    formula: Callable[[Knobs, fmpq, fmpq], Point]
    kinks: Callable[[Knobs], list[Point]]
    peak: Callable[[Knobs], tuple[float, Point]]
    outside: Callable[[Knobs], float] = everything
    layers: Callable[[Knobs], int] = lambda knobs: 3
    positive: bool = False
    silences: bool = False
    gated: bool = True


def clamp(u: fmpq, low: fmpq, high: fmpq) -> fmpq:
    return max(low, min(high, u))


def on_a(*values: fmpq) -> list[Point]:
    """Points with these a, and b once zero and once not."""
    return [(a, b) for a in values for b in (ZERO, fmpq(3, 8))]


def _hat(knobs: Knobs, a: fmpq, b: fmpq) -> Point:
    return ZERO, max(ONE - abs(rational(knobs.scale) * a), ZERO)


def _trapezoid(knobs: Knobs, a: fmpq, b: fmpq) -> Point:
    return ZERO, clamp(2 - abs(rational(knobs.scale) * a), ZERO, ONE)


def _bump_kinks(knobs: Knobs) -> list[Point]:
    return on_a(*(fmpq(k, 2) / rational(knobs.scale) for k in range(-6, 7)))


def _bump_peak(knobs: Knobs) -> tuple[float, Point]:
    return 1.0, (ZERO, ZERO)


def _affine(knobs: Knobs) -> dict[str, float]:
    return {"a": knobs.scale, "b": -0.5, CONSTANT: 0.25}


def _clamp(knobs: Knobs, a: fmpq, b: fmpq) -> Point:
    return ZERO, clamp(rational(knobs.scale) * a - b / 2 + fmpq(1, 4), ZERO, ONE)


def _clamp_kinks(knobs: Knobs) -> list[Point]:
    """u = k/2 for k = -2..4, at three values of b."""
    bs = (fmpq(-5), ZERO, fmpq(3, 8))
    return [((fmpq(k, 2) + b / 2 - fmpq(1, 4)) / rational(knobs.scale), b) for k in range(-2, 5) for b in bs]


def _clamp_peak(knobs: Knobs) -> tuple[float, Point]:
    return 1.0, (8 / rational(knobs.scale), ZERO)


def _clip(knobs: Knobs, a: fmpq, b: fmpq) -> Point:
    limit = rational(knobs.scale)
    return clamp(a, -limit, limit) - a, ZERO


def _shifted_clip(knobs: Knobs, a: fmpq, b: fmpq) -> Point:
    limit = rational(knobs.scale)
    return clamp(a + limit / 2, -limit, limit) - a, ZERO


def _clip_kinks(knobs: Knobs) -> list[Point]:
    return on_a(*(fmpq(k, 2) * rational(knobs.scale) for k in range(-4, 5)))


def _clip_bound(knobs: Knobs) -> float:
    return knobs.bound + 2 * knobs.scale


def _clip_peak(knobs: Knobs) -> tuple[float, Point]:
    bound = _clip_bound(knobs)
    return bound - knobs.scale, (rational(bound), ZERO)


def _at_bound(knobs: Knobs) -> tuple[float, Point]:
    return knobs.bound, (rational(knobs.bound), ZERO)


def _telescoping(knobs: Knobs, a: fmpq, b: fmpq) -> Point:
    s, w = a - 1, max(rational(knobs.scale) * b, ZERO)
    return min(ONE, s + w) - min(ONE, s) - a, ZERO


def _telescoping_kinks(knobs: Knobs) -> list[Point]:
    """s in 0, 1/2, 1, 3/2 and w in 0, 1/2, 1, 3/2 (and b < 0): every case of s, s + w against 1."""
    half = [fmpq(k, 2) for k in range(4)]
    return [(1 + s, w / rational(knobs.scale)) for s in half for w in [*half, fmpq(-1)]]


def _telescoping_peak(knobs: Knobs) -> tuple[float, Point]:
    """p = relu(2 - a) = bound + 2 at a = -bound, with w > 0 so that the two relus differ."""
    return knobs.bound + 2, (-rational(knobs.bound), min(1 / rational(knobs.scale), rational(knobs.bound)))


def _ramp(knobs: Knobs, a: fmpq, b: fmpq) -> Point:
    square = rational(knobs.square)
    return clamp((square - b) / square * 2**knobs.doublings, ZERO, ONE), ZERO


def _ramp_kinks(knobs: Knobs) -> list[Point]:
    """b = r^2 - k Delta/2 for k = -2..4, and far off."""
    square = rational(knobs.square)
    steps = [square - fmpq(k, 2) * square / 2**knobs.doublings for k in range(-2, 5)]
    return [(a, b) for b in [*steps, ZERO, 5 * square] for a in (ZERO, fmpq(3, 8))]


GADGETS: tuple[Gadget, ...] = (
    Gadget(
        "hat",
        "b += relu(1 - |c a|)",
        r"$b\mathrel{+}=\mathrm{relu}(1-|ca|)$",
        library("bump", lambda k: {"kind": "hat", "scale": k.scale}),
        _hat,
        _bump_kinks,
        _bump_peak,
    ),
    Gadget(
        "trapezoid",
        "b += clamp(2 - |c a|, 0, 1)",
        r"$b\mathrel{+}=\mathrm{clamp}(2-|ca|,0,1)$",
        library("bump", lambda k: {"kind": "trapezoid", "scale": k.scale}),
        _trapezoid,
        _bump_kinks,
        _bump_peak,
    ),
    Gadget(
        "clamp",
        "b += clamp(u, 0, 1), u = c a - b/2 + 1/4",
        r"$b\mathrel{+}=\mathrm{clamp}(u,0,1)$ for affine $u$",
        library("clamp", lambda k: {"argument": _affine(k)}),
        _clamp,
        _clamp_kinks,
        _clamp_peak,
    ),
    Gadget(
        "clip",
        "a <- clip(a, -c, c) on every token",
        r"$a\gets\mathrm{clip}(a,-c,c)$ on every token",
        library("clip", lambda k: {"row": "a", "limit": k.scale}, gated=False),
        _clip,
        _clip_kinks,
        _clip_peak,
        layers=lambda knobs: 2,
        gated=False,
    ),
    Gadget(
        "shifted_clip",
        "a <- clip(a + c/2, -c, c) on every token",
        r"$a\gets\mathrm{clip}(a+c/2,-c,c)$ on every token",
        library("shifted_clip", lambda k: {"row": "a", "limit": k.scale, "shift": k.scale / 2}, gated=False),
        _shifted_clip,
        _clip_kinks,
        _clip_peak,
        layers=lambda knobs: 2,
        gated=False,
    ),
    Gadget(
        "gated_clip",
        "a <- clip(a, -c, c)",
        r"$a\gets\mathrm{clip}(a,-c,c)$",
        library("clip", lambda k: {"row": "a", "limit": k.scale}, _clip_bound),
        _clip,
        _clip_kinks,
        _clip_peak,
        outside=_clip_bound,
    ),
    Gadget(
        "clear",
        "a <- 0",
        r"$a\gets0$",
        library("clear", lambda k: {}, lambda k: k.bound),
        lambda knobs, a, b: (-a, ZERO),
        lambda knobs: on_a(fmpq(-2), ZERO, fmpq(2)),
        _at_bound,
        outside=lambda knobs: knobs.bound,
    ),
    Gadget(
        "telescoping",
        "a = 1 + s becomes min(1, s + w) - min(1, s), w = relu(c b)",
        r"$a=1+s$ becomes $\min(1,s+w)-\min(1,s)$ with $w=\mathrm{relu}(cb)$",
        library("telescoping_weight", lambda k: {"slope": k.scale}, lambda k: k.bound),
        _telescoping,
        _telescoping_kinks,
        _telescoping_peak,
        outside=lambda knobs: knobs.bound,
        positive=True,
    ),
    Gadget(
        "silence",
        "a stays, and a <= 0 on every other token",
        r"$a$ stays, and $a\le0$ on every other token",
        library("silence", lambda k: {}, lambda k: k.bound),
        lambda knobs, a, b: (ZERO, ZERO),
        lambda knobs: on_a(fmpq(-2), ZERO, fmpq(2)),
        _at_bound,
        outside=lambda knobs: knobs.bound,
        layers=lambda knobs: 2,
        silences=True,
    ),
    Gadget(
        "ramp",
        "a += clamp((r^2 - b)/Delta, 0, 1), Delta = r^2 2^-n, in n + 4 layers",
        r"$a\mathrel{+}=\mathrm{clamp}((r^2-b)/\Delta,0,1)$ with $\Delta=2^{-n}r^2$, in $n+4$ layers",
        library("indicator_ramp", lambda k: {"radius_squared": k.square, "doublings": k.doublings}),
        _ramp,
        _ramp_kinks,
        _bump_peak,
        layers=lambda knobs: knobs.doublings + 4,
    ),
)
