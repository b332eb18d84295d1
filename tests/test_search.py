"""The search that every planner hands its candidates to: whom it takes, what it remembers, what it says on failure."""

from dataclasses import dataclass

import pytest

from construct import BudgetExceeded, EpsilonNotReached
from construct.manifolds import Circle
from construct.planning import Search, over_budget
from construct.problem import Problem, Sizes


def search(epsilon: float | None = 0.1, budget: int | None = None, **options: object) -> Search:
    return Search(Problem(lambda x: x[..., 0], Circle(), epsilon), "somebody", budget, **options)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Ranked:
    cost: int
    settled: int | None


def test_a_candidate_that_had_to_be_refined_is_compared_with_the_next() -> None:
    seen: list[int] = []

    def settle(candidate: Ranked) -> tuple[int, int] | None:
        seen.append(candidate.cost)
        return None if candidate.settled is None else (candidate.cost, candidate.settled)

    first = [Ranked(40, 40), Ranked(10, 35), Ranked(5, None), Ranked(30, 31), Ranked(32, 32)]
    assert search().cheapest([[Ranked(1, None)], first], settle) == 30
    assert seen == [1, 5, 10, 30]
    with pytest.raises(EpsilonNotReached):
        search().cheapest([[Ranked(1, None)]], settle)


def test_the_history_marks_what_was_chosen_by_sizes_and_note() -> None:
    one = search(margin=1.0)
    for note, error in (("compositions 2", 0.2), ("compositions 3", 0.1), ("compositions 4", 0.05)):
        one.record(Sizes(cells=4), error, "measured", note=note)
    history = one.chosen(Sizes(cells=4), "compositions 3")
    assert [t.outcome for t in history] == ["above epsilon", "chosen", "within epsilon"]
    assert one.best_error == 0.05 and "compositions 4" in str(history)
    assert [row["note"] for row in history.records()] == ["compositions 2", "compositions 3", "compositions 4"]


def test_the_texts_of_failure() -> None:
    one = search(budget=10, limit="budget")
    one.record(Sizes(degree=2), 0.5, "fitted")
    assert str(one.failure()).startswith("epsilon: expected an error that somebody reaches in 1 trials on Circle")
    assert str(one.failure()).endswith("the best sup error reached is 0.5") and one.failure().best == 0.5
    assert not one.affordable(Sizes(degree=3), 12, "at least") and one.affordable(Sizes(degree=1), 10)
    found = one.failure()
    assert isinstance(found, BudgetExceeded)
    assert str(found).startswith(
        "budget: expected at least 12, the parameters of degree 3, at least, the smallest candidate"
    )
    assert "for epsilon = 0.1" in str(found) and "got 10; the best" in str(found)
    without = search(None, 10, limit="budget")
    assert "budget: expected a budget within which there is a candidate of somebody" in str(without.failure())
    assert without.record(Sizes(degree=3), 5.0, "measured").outcome == "within budget"
    without.affordable(Sizes(), 12, "knots 0")
    assert "epsilon" not in str(without.failure()) and str(without.failure()).endswith("got 10")
    assert "parameters of knots 0, the smallest" in str(without.failure())
    assert str(search().failure()).endswith("nothing could be measured")
    assert str(over_budget(7, f"{Sizes(cells=3)}", 5, limit="most_weights")).startswith(
        "most_weights: expected at least 7"
    )
