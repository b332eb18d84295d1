"""From a problem to a network: which constructions are asked, which of their plans is the smallest, program,
weights."""

from __future__ import annotations

import math
import numbers
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, Protocol

import torch

from construct.arrays import Float
from construct.cells import planner as cell_planner
from construct.cells.approximator import CellApproximator
from construct.cells.program import cell_numbers, cell_program
from construct.certificates.weights import weights_digest
from construct.compact import planner as compact_planner
from construct.compact.geometry import input_box
from construct.compact.planner import CompactPlanner
from construct.compact.program import compact_program
from construct.devices import on_cpu
from construct.errors import BudgetExceeded, EpsilonNotReached, InputError
from construct.history import History, Trial
from construct.inputs import known_device
from construct.local import PiecewiseApproximator
from construct.manifolds import Manifold
from construct.network import Approximator, Network, PositionCodeName
from construct.origin import Origin
from construct.paper import planner as paper_planner
from construct.paper.grid import TaylorApproximator
from construct.paper.layout import paper_input_box
from construct.paper.program import paper_program
from construct.planning import Search
from construct.problem import CONSTRUCTIONS, Construction, Problem, Sizes
from construct.program.codes import CODES
from construct.program.compile import Program
from construct.progress import Progress, silent
from construct.ridge import candidates as ridge_candidates
from construct.ridge import planner as ridge_planner
from construct.ridge.approximator import RidgeApproximator
from construct.ridge.charts import SharedRidgeApproximator
from construct.ridge.layouts import needed_numbers, ridge_program
from construct.ridge.narrow import WIDTH
from construct.ridge.planner import RidgePlanner
from construct.ridge.program import ridge_box
from construct.ridge.shared import shared_program
from construct.validation import floating_dtype, invalid, one_of, positive_integer, scalar

Bound = Literal["measured", "rigorous"]
EmbeddingDim = Literal[5, "free"]
BOUNDS = ("measured", "rigorous")
CERTIFIED: tuple[Construction, ...] = ("ridge", "lattice", "compact")  # of which an error can be proved
MOST_PROVED = 3  # coordinates of a ridge network of which errors are proved in minutes


class Planned(Protocol):
    """What a planner returns."""

    @property
    def approximator(self) -> Approximator: ...
    @property
    def history(self) -> History: ...


@dataclass(frozen=True)
class Choices:
    """What `approximate` is to build, besides the problem; checked. The arguments are those of `approximate`."""

    construction: Construction | None
    position_code: PositionCodeName
    sizes: Sizes
    bound: Bound
    budget: int
    dtype: torch.dtype
    device: torch.device | str
    embedding_dim: EmbeddingDim | None = None
    sparse: bool = False

    def __post_init__(self) -> None:
        if self.construction is not None:
            one_of(self.construction, "construction", CONSTRUCTIONS)
        one_of(self.position_code, "position_code", tuple(CODES))
        one_of(self.bound, "bound", BOUNDS)
        object.__setattr__(self, "embedding_dim", _known_width(self.embedding_dim))
        if not isinstance(self.sparse, bool):
            raise invalid("sparse", "True or False", self.sparse)
        positive_integer(self.budget, "max_parameters")
        known_device(self.device)
        if self.dtype not in (torch.float64, torch.float32):
            raise invalid("dtype", "torch.float64 or torch.float32", self.dtype)
        if self.bound == "rigorous" and self.construction not in (None, *CERTIFIED):
            raise invalid("construction", f"one of {CERTIFIED} for bound='rigorous'", self.construction)
        if self.construction == "ridge":
            self._check_ridge()
        elif self.construction == "lattice":
            self._check_lattice()
        elif self.sparse and "ridge" not in self.candidates:
            raise invalid("sparse", "False where no ridge network is planned", True)

    def _check_ridge(self) -> None:
        if self.position_code != "integer":
            raise invalid(
                "position_code", "'integer', the only code of directions, for construction='ridge'", self.position_code
            )
        for name in ("charts", "cells"):
            size = getattr(self.sizes, name)
            if size not in (None, 1):
                raise invalid(name, "None or 1 for construction='ridge', which has one chart", size)
        if self.sizes and self.sizes.degree is None:  # one chart and one cell say nothing
            object.__setattr__(self, "sizes", Sizes())

    def _check_lattice(self) -> None:
        if self.position_code != "integer":
            raise invalid("position_code", "'integer', the only code of cells, for construction='lattice'",
                          self.position_code)  # fmt: skip
        for name in ("charts", "cells", "degree"):
            if getattr(self.sizes, name) is not None:
                raise invalid(name, "None for construction='lattice', whose cells are chosen for the target",
                              getattr(self.sizes, name))  # fmt: skip
        for name, plain in (("embedding_dim", (None, "free")), ("sparse", (False,))):
            if getattr(self, name) not in plain:
                raise invalid(name, f"{plain[0]} for construction='lattice'", getattr(self, name))

    @property
    def narrow(self) -> bool:
        """Whether ridge networks have width 5. None is the free width, which stores fewer numbers with as many
        coefficients, whatever k and degree (tests/ridge/test_narrow.py)."""
        return self.embedding_dim == 5

    @property
    def single(self) -> bool:
        """Whether the network is of float32."""
        return self.dtype == torch.float32

    @property
    def candidates(self) -> tuple[Construction, ...]:
        """The constructions that are asked for their smallest network."""
        if self.construction is not None:
            return (self.construction,)
        by_hand = self.sizes.charts is not None or self.sizes.cells is not None
        if by_hand or self.position_code != "integer":
            return ("compact",)
        return ("ridge",) if self.sizes else ("ridge", "compact")


def _known_width(value: object) -> EmbeddingDim | None:
    """An `embedding_dim`; numbers and texts of numpy and torch are Python's."""
    found = scalar(value)
    if found is None or (isinstance(found, str) and found == "free"):
        return None if found is None else "free"
    if isinstance(found, numbers.Integral) and not isinstance(found, bool) and found == WIDTH:
        return 5
    raise invalid("embedding_dim", f"None, {WIDTH} or 'free'", value)


def built(problem: Problem, choices: Choices) -> Network:
    """Plan, program, compile: the network, nothing said of its error yet."""
    plan = _planned(problem, choices)
    return network_of(
        plan.approximator,
        position_code=choices.position_code,
        dtype=choices.dtype,
        device=choices.device,
        history=plan.history,
        progress=problem.progress,
    )


@dataclass(frozen=True)
class Smallest:
    """The plan with the fewest stored numbers, and what all planners tried."""

    approximator: Approximator
    history: History


def _planned(problem: Problem, choices: Choices) -> Planned:
    """The plan of the construction that was asked for, or of that with the fewest stored numbers."""
    candidates = choices.candidates
    if choices.construction is None and choices.bound == "rigorous" and problem.manifold.canonical > MOST_PROVED:
        candidates = ("compact",)
    if len(candidates) == 1:
        return _plan_of(candidates[0], problem, choices)
    found: tuple[int, Approximator] | None = None
    missed, trials = list[EpsilonNotReached](), list[Trial]()
    for construction in candidates:
        dearest = None if found is None else found[0]
        search = Search(problem, f"the {construction} construction", choices.budget, dearest=dearest)
        try:
            plan: Planned = (
                _ridge_planner(problem, search, choices).plan()
                if construction == "ridge"
                else CompactPlanner(problem, search, not choices.single).plan()
            )
        except EpsilonNotReached as error:
            missed.append(error)
            trials += search.history.noted(construction)
        else:
            numbers, more = stored_numbers(plan.approximator), list(plan.history.noted(construction))
            if found is None or numbers < found[0]:
                found, trials = (numbers, plan.approximator), [*map(_demoted, trials), *more]
            else:
                trials += map(_demoted, more)
    if found is None:
        raise _most_telling(missed)
    return Smallest(found[1], History(tuple(trials)))


def _ridge_planner(problem: Problem, search: Search, choices: Choices) -> RidgePlanner:
    """One of several planners: that there are no coordinates for it is not the end.

    Raises:
        EpsilonNotReached: there are none.
    """
    try:
        return RidgePlanner(problem, search, choices.narrow, choices.sparse, choices.single)
    except InputError as error:
        raise EpsilonNotReached(f"{error}; no ridge network was fitted", math.inf) from None


def _plan_of(construction: Construction, problem: Problem, choices: Choices) -> Planned:
    if construction == "lattice":
        return cell_planner.plan(problem, choices.budget, single=choices.single)
    if construction == "ridge":
        options = {"narrow": choices.narrow, "sparse": choices.sparse, "single": choices.single}
        return ridge_planner.plan(problem, choices.budget, degree=choices.sizes.degree, **options)
    planner = compact_planner if construction == "compact" else paper_planner
    if choices.sizes:
        return planner.by_hand(problem, choices.sizes, choices.budget)
    if construction == "compact":  # the cut-offs of small charts need exact gates, and float64
        exact = choices.position_code == "integer" and not choices.single
        return compact_planner.plan(problem, choices.budget, adaptive=exact)
    return paper_planner.plan(problem, choices.budget)


def _demoted(trial: Trial) -> Trial:
    """A trial of a construction whose network is not the smallest."""
    return replace(trial, outcome="dearer") if trial.outcome == "chosen" else trial


def _most_telling(missed: Sequence[EpsilonNotReached]) -> EpsilonNotReached:
    """What is raised when no construction has a plan: of a budget before anything else, with the best error of all."""
    first = next((error for error in missed if isinstance(error, BudgetExceeded)), missed[-1])
    best = min(missed, key=lambda error: error.best)
    if best is not first:
        text = f"{first}; {best}" if math.isfinite(best.best) else f"{first}"
        first.best, first.plan, first.args = best.best, best.plan, (text,)
    return first


def stored_numbers(approximator: Approximator) -> int:
    """Stored numbers of the network of an approximator, with the integer code."""
    if isinstance(approximator, RidgeApproximator):
        return needed_numbers(approximator)
    if isinstance(approximator, CellApproximator):
        return cell_numbers(approximator)
    return _programmed(approximator, "integer")[1].counts.stored_numbers


@on_cpu
def network_of(
    approximator: Approximator,
    *,
    position_code: PositionCodeName = "integer",
    dtype: torch.dtype = torch.float64,
    device: torch.device | str = "cpu",
    history: History | None = None,
    progress: Progress = silent,
) -> Network:
    """The transformer that computes an approximator, exact up to rounding: of ridge polynomials the ridge one, of
    blended local approximators the compact one, of glued Taylor polynomials the paper's.

    Raises:
        InputError: an unknown position code, or one that directions do not have, or a local space or degree that the
            network has no basis of.
        PrecisionError: the dtype cannot hold the position code or the gates.
    """
    one_of(position_code, "position_code", tuple(CODES))
    floating_dtype(dtype)
    known_device(device)
    construction, program, box, sizes = _programmed(approximator, position_code)
    weights = program.compile(box, dtype, progress=progress)
    coefficients = approximator.coefficients
    constants = int(isinstance(approximator, RidgeApproximator | CellApproximator))
    if isinstance(approximator, SharedRidgeApproximator):
        constants = approximator.charts
    origin = Origin(
        construction=construction,
        source=program,
        sizes=sizes,
        coefficients=int(coefficients.numel()) + constants,
        nonzero_coefficients=_used_coefficients(approximator),
        manifold=manifold_of(approximator),
        history=history or History(),
    )
    net = Network(weights, origin, approximator=approximator, dtype=dtype, device=device)
    net.origin = replace(origin, weights=weights_digest(net))
    return net


def _used_coefficients(approximator: Approximator) -> int:
    """Its coefficients that are not 0, those of constants included."""
    if isinstance(approximator, RidgeApproximator | CellApproximator):
        return approximator.parameters
    used = int(approximator.coefficients.count_nonzero())
    if isinstance(approximator, SharedRidgeApproximator):
        used += int(approximator.constants.count_nonzero())
    return used


def _programmed(
    approximator: Approximator, position_code: PositionCodeName
) -> tuple[Construction, Program, Float, Sizes]:
    """Construction, program, box of the inputs and sizes of what computes an approximator."""
    if isinstance(approximator, RidgeApproximator):
        if position_code != "integer":
            raise invalid("position_code", "'integer', the only code of directions", position_code)
        box = ridge_box(approximator.manifold)
        return "ridge", ridge_program(approximator), box, ridge_candidates.sizes_of(approximator)
    if isinstance(approximator, SharedRidgeApproximator):
        if position_code != "integer":
            raise invalid("position_code", "'integer', the only code of directions", position_code)
        sizes = Sizes(approximator.charts, 1, approximator.degree)
        return "ridge", shared_program(approximator), ridge_box(approximator.manifold), sizes
    if isinstance(approximator, CellApproximator):
        if position_code != "integer":
            raise invalid("position_code", "'integer', the only code of cells", position_code)
        sizes = cell_planner.sizes_of(approximator)
        return "lattice", cell_program(approximator), ridge_box(approximator.manifold), sizes
    if isinstance(approximator, TaylorApproximator):
        atlas, sizes = approximator.atlas, Sizes(approximator.atlas.count, approximator.cells, approximator.degree)
        return "paper", paper_program(approximator, position_code), paper_input_box(atlas).ends, sizes
    if isinstance(approximator, PiecewiseApproximator):
        atlas, sizes = approximator.atlas, compact_planner.sizes_of(approximator.atlas, approximator.space)
        return "compact", compact_program(approximator, position_code), input_box(atlas).ends, sizes
    expected = "a RidgeApproximator, a CellApproximator, a PiecewiseApproximator or a TaylorApproximator"
    raise invalid("approximator", expected, approximator)


def manifold_of(approximator: Approximator) -> Manifold:
    """M."""
    if isinstance(approximator, RidgeApproximator | SharedRidgeApproximator | CellApproximator):
        return approximator.manifold
    return approximator.atlas.manifold
