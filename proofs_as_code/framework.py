"""Statements, verdicts, and how a statement is run.

A statement is a claim with hypotheses. Each hypothesis comes with a strategy of the `hypothesis` library that draws
objects which satisfy it, so that the command line and the property tests are generated from the statement itself. A
check constructs what the statement is about, compares both sides of the claim and returns a `Verdict`. A *negative
twin* violates one hypothesis, or takes a constant just below its minimum: its check must fail.

Kinds of verdict, never mixed:

    exact      rational arithmetic on the very weights (a float64 is a dyadic rational): an identity or an inequality
               between rational numbers, decided for the objects that were drawn
    rigorous   ball arithmetic (python-flint's arb): an inequality proved over a whole set of points
    sampled    floating point at finitely many points: evidence, not a proof
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from flint import arb
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.strategies import SearchStrategy, fixed_dictionaries

from construct.validation import invalid, one_of

KINDS = ("exact", "rigorous", "sampled")  # from the strongest to the weakest


@dataclass(frozen=True)
class Verdict:
    """What one check found: the claim is `measured <= claimed`.

    claimed, measured: both sides as floats, for display; kind: "exact", "rigorous" or "sampled"; points: at how many
    points (or pairs, cells, instances) the two sides were compared; dtype: of the numbers that were checked
    ("rational", "arb", "float64", ...); worst_point: JSON-able witness; holds: decided in the arithmetic of the kind.
    """

    claimed: float
    measured: float
    kind: str
    points: int
    dtype: str
    worst_point: Mapping[str, Any]
    holds: bool

    def __post_init__(self) -> None:
        one_of(self.kind, "kind", KINDS)

    @property
    def slack(self) -> float:
        """`claimed - measured`, NaN-safe: -inf where either side is NaN."""
        difference = self.claimed - self.measured
        return -math.inf if math.isnan(difference) else difference


def verdict(
    claimed: Any, measured: Any, *, kind: str, points: int, dtype: str, worst_point: Mapping[str, Any] | None = None
) -> Verdict:
    """Compare in the type given (Fraction, float, int): holds iff `measured <= claimed`, so that NaN fails.

    For balls use `proved`: `arb` compares as true only where every point of both balls does.
    """
    holds = bool(measured <= claimed)
    return Verdict(float(claimed), float(measured), kind, points, dtype, dict(worst_point or {}), holds)


def proved(
    claimed: Any, measured: Any, *, points: int, worst_point: Mapping[str, Any] | None = None, dtype: str = "arb"
) -> Verdict:
    """Rigorous comparison of balls (or a ball with an exact number): holds only if it does for all their points.

    `arb` compares as true exactly then, and as false for NaN. Shown are the upper end of `measured` and the lower end
    of `claimed`.
    """
    left, right = arb(measured), arb(claimed)
    shown = float(right.lower()), float(left.upper())
    return Verdict(*shown, "rigorous", points, dtype, dict(worst_point or {}), bool(left <= right))


@dataclass(frozen=True)
class Hypothesis:
    """One hypothesis: its text, and a strategy of objects that satisfy it."""

    text: str
    strategy: SearchStrategy[Any]


@dataclass(frozen=True)
class Twin:
    """A negative twin: what it violates, the hypotheses that replace those of the statement, and its check.

    every: each drawn instance must fail; otherwise at least one of them.
    """

    name: str
    violates: str
    check: Callable[..., Verdict]
    hypotheses: Mapping[str, Hypothesis] = field(default_factory=dict)
    every: bool = True
    examples: int = 5


@dataclass(frozen=True)
class Statement:
    """A claim of the paper or of this library that can be run.

    name: dotted, group first ("heads.interaction.integer"); source: paper label or "ours"; claim: in formulas, plain
    text; latex: the same for an appendix, text with its formulas in $...$, or a single formula without any $;
    hypotheses: by the name of the argument of `check`; check: constructs and compares, one verdict per drawn instance;
    twins: at least one; examples: instances that a run draws.
    """

    name: str
    source: str
    claim: str
    latex: str
    hypotheses: Mapping[str, Hypothesis]
    check: Callable[..., Verdict]
    twins: tuple[Twin, ...]
    examples: int = 10

    def __post_init__(self) -> None:
        if not self.twins:
            raise invalid("twins", f"at least one negative twin of {self.name}", got="none")

    def instances(self, twin: Twin | None = None) -> SearchStrategy[dict[str, Any]]:
        """Keyword arguments of `check` (or of a twin's check) that satisfy the hypotheses."""
        hypotheses = {**self.hypotheses, **(twin.hypotheses if twin else {})}
        return fixed_dictionaries({name: hypothesis.strategy for name, hypothesis in hypotheses.items()})


@dataclass(frozen=True)
class TwinResult:
    """Whether a negative twin failed as it must, on how many instances."""

    name: str
    violates: str
    failed: int
    tried: int
    refuted: bool


@dataclass(frozen=True)
class Result:
    """A statement after its run: the verdict with the least slack, and what its twins did."""

    statement: Statement
    verdict: Verdict
    instances: int
    twins: tuple[TwinResult, ...]
    seconds: float

    @property
    def holds(self) -> bool:
        """The claim held on every instance and every negative twin was refuted."""
        return self.verdict.holds and all(twin.refuted for twin in self.twins)

    def record(self) -> dict[str, Any]:
        """JSON-able; keys as documented for `--json`."""
        v = self.verdict
        return {
            "name": self.statement.name,
            "source": self.statement.source,
            "claim": self.statement.claim,
            "kind": v.kind,
            "holds": self.holds,
            "claimed": _finite(v.claimed),
            "measured": _finite(v.measured),
            "slack": _finite(v.slack),
            "worst_point": _plain(v.worst_point),
            "points": v.points,
            "dtype": v.dtype,
            "instances": self.instances,
            "negative_twins": [
                {"name": t.name, "violates": t.violates, "failed": t.failed, "tried": t.tried, "refuted": t.refuted}
                for t in self.twins
            ],
            "seconds": round(self.seconds, 3),
        }


def _finite(value: float) -> float | str:
    """JSON has no infinities."""
    return value if math.isfinite(value) else repr(value)


def _plain(value: Any) -> Any:
    """JSON-able: exact and foreign numbers as text, tuples as lists, no infinities."""
    if isinstance(value, Mapping):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    if isinstance(value, float):
        return _finite(value)
    return value if value is None or isinstance(value, str | int) else str(value)


def run(statement: Statement, seed_value: int = 0) -> Result:
    """Draw instances, check them all, keep the worst; then the twins."""
    start = time.perf_counter()
    verdicts = draw(statement.instances(), statement.check, statement.examples, seed_value)
    combined = combine(verdicts)
    twins = tuple(run_twin(statement, twin, seed_value) for twin in statement.twins)
    return Result(statement, combined, len(verdicts), twins, time.perf_counter() - start)


def combine(verdicts: Sequence[Verdict]) -> Verdict:
    """The verdict with the least relative slack, for all points; one that fails before any that holds.

    The kind is the weakest that occurs, so that a report never promises more than its weakest part.
    """
    worst = min(verdicts, key=lambda v: (v.holds, v.slack / max(abs(v.claimed), 1e-300)))
    kind = max((v.kind for v in verdicts), key=KINDS.index)
    dtype = ", ".join(sorted({v.dtype for v in verdicts}))
    return replace(worst, kind=kind, points=sum(v.points for v in verdicts), dtype=dtype)


def run_twin(statement: Statement, twin: Twin, seed_value: int = 0) -> TwinResult:
    """Whether the twin's check fails as it must."""
    verdicts = draw(statement.instances(twin), twin.check, twin.examples, seed_value)
    failed = sum(not v.holds for v in verdicts)
    refuted = failed == len(verdicts) if twin.every else failed > 0
    return TwinResult(twin.name, twin.violates, failed, len(verdicts), refuted)


def draw(
    strategy: SearchStrategy[dict[str, Any]], check: Callable[..., Verdict], examples: int, seed_value: int
) -> list[Verdict]:
    """Verdicts on seeded instances; a check that finds its claim false returns it, only errors are raised."""
    found: list[Verdict] = []

    @seed(seed_value)
    @settings(
        max_examples=examples,
        database=None,
        deadline=None,
        phases=(Phase.generate,),
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def collect(instance: dict[str, Any]) -> None:
        found.append(check(**instance))

    collect()
    return found
