"""Who is to blame: an argument that is wrong is named, with what was expected and given, before any raw error."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from typer.testing import CliRunner

import construct
from construct import InputError, PrecisionError, cli
from construct.expressions import exp, sqrt, variables
from construct.manifolds import Circle, Cube, Sphere
from construct.measurement import cover_for
from construct.obstacle import log_ratio, observed_order, predicted
from construct.planning import slow_decay

CIRCLE = Circle()
x0, x1 = variables(2)


@pytest.fixture(scope="module")
def net() -> construct.Network:
    return construct.approximate(x0, CIRCLE, epsilon=1e-2, construction="compact")


# -- measure ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("manifold", [x0, None, "circle", lambda x: x])
def test_measure_names_what_is_no_manifold(net: construct.Network, manifold: Any) -> None:
    with pytest.raises(InputError, match=r"^manifold: expected a construct\.manifolds\.Manifold, got "):
        construct.measure(net, x0, manifold)


def test_measure_names_a_manifold_in_another_space(net: construct.Network) -> None:
    with pytest.raises(InputError, match=r"^manifold: expected one in R\^2, where the network reads, got .* in R\^3$"):
        construct.measure(net, x0, Sphere(2))


@pytest.mark.parametrize(("name", "arguments"), [("net", (None, x0)), ("target", (x0, 3.0)), ("net", ("f", None))])
def test_measure_names_what_cannot_be_called(name: str, arguments: tuple[Any, Any]) -> None:
    with pytest.raises(InputError, match=rf"^{name}: expected a callable on points"):
        construct.measure(*arguments, CIRCLE)


def test_measure_takes_no_more_points_than_memory_holds(net: construct.Network) -> None:
    said = r"samples: expected an integer >= 1 and <= 4194304, got 1000000000"
    with pytest.raises(InputError, match=rf"^{said}$"):
        construct.measure(net, x0, CIRCLE, samples=10**9)
    called = CliRunner().invoke(cli.app, ["approximate", "--manifold", "circle", "--target", "exp_sin", "--samples",
                                          "1000000000"])  # fmt: skip
    assert called.exit_code != 0 and "samples: expected" in " ".join(called.output.split())


# -- length scales ----------------------------------------------------------------------------------------------------


class Stated:
    """x0, with a `length_scale` that is computed."""

    def __init__(self, scale: Callable[[], Any]) -> None:
        self.scale = scale

    @property
    def length_scale(self) -> Any:
        return self.scale()

    def __call__(self, x: Tensor) -> Tensor:
        return x[..., 0]


def raising(error: Exception) -> Callable[[], Any]:
    def scale() -> Any:
        raise error

    return scale


@pytest.mark.parametrize("stated", [math.nan, math.inf, -1, -1.0, 0, 0.0, "a", 1e300, 1e-300, [0.1], True, 1j])
@pytest.mark.parametrize("call", ["approximate", "measure", "measure with a resolution"])
def test_a_length_scale_that_is_none_is_refused(net: construct.Network, stated: Any, call: str) -> None:
    target = Stated(lambda: stated)
    with pytest.raises(InputError, match=r"^target: expected a length_scale that is None or .*, got length_scale = "):
        if call == "approximate":
            construct.approximate(target, CIRCLE, epsilon=0.1)
        else:
            construct.measure(net, target, CIRCLE, 100, resolution=None if call == "measure" else 0.1)


@pytest.mark.parametrize("error", [ValueError("no file"), AttributeError("no such thing"), ZeroDivisionError()])
def test_a_length_scale_that_raises_is_refused(net: construct.Network, error: Exception) -> None:
    with pytest.raises(
        InputError, match=rf"^target: expected a length_scale .*, got one that raised {type(error).__name__}"
    ):
        construct.measure(net, Stated(raising(error)), CIRCLE)


def test_a_length_scale_may_be_any_number_that_is_a_length() -> None:
    fine = {scale: cover_for(Stated(lambda: scale), CIRCLE, 100) for scale in (None, 5, 0.05, torch.tensor(0.05))}  # noqa: B023
    radii = [cover.radius for cover in fine.values() if cover is not None]
    assert radii[0] == radii[1] > 0.05 / 4 >= radii[2] == radii[3]  # an int is as good as a float
    tiny = cover_for(Stated(lambda: 1e-100), Cube(dim=4), 300)  # (radius / scale)^4 is beyond float64
    assert tiny is not None and len(tiny.points) <= 8 * 300
    with pytest.raises(InputError, match=r"^target: expected a length_scale"):
        construct.targets.Target("t", "a target", lambda x: x[..., 0], length_scale=-1.0)


# -- quotients of errors ----------------------------------------------------------------------------------------------


def test_errors_that_vanish_or_overflow_divide_nothing() -> None:
    values = [0.0, 5e-324, 1e-200, 1.0, 1e300, math.inf]
    for first in values:
        for last in values:
            ratio = log_ratio(first, last)
            assert not math.isnan(ratio) and (ratio <= 0 or first >= last or last == 0)
            found = predicted([first, first, last, last], 20)
            assert 0 <= found <= last
            assert not math.isnan(observed_order([first, 1.0, 1.0, last], 2.0))
            slow_decay([first, 1.0, 1.0, last], [1, 4, 16, 64], 2.0)
    assert predicted([0.8, 0.4, 0.2, 0.1], 3) == pytest.approx(0.1 / 8, rel=1e-12)
    assert predicted([1.0, 1.0, 1.0, 2.0], 3) == 2.0 and predicted([1.0, 0.5], 3) == 0.0


# -- numbers that overflow --------------------------------------------------------------------------------------------


def test_what_overflows_is_named_and_no_inf_is_said() -> None:
    with pytest.raises(PrecisionError) as caught:
        construct.approximate(1e160 * exp(x0), CIRCLE, epsilon=1e158, construction="compact")
    text = str(caught.value)
    assert "inf" not in text and "more than 1.8e+308" in text and "scaled target" in text
    scaled = construct.approximate(exp(x0), CIRCLE, epsilon=1e-2)  # the advice works
    assert scaled.claim is not None and scaled.claim.bound <= 1e-2


# -- certify ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", [1 / x0, sqrt(x0), 1 / (x0 - 0.3) ** 2])
def test_certify_blames_a_target_that_is_not_defined(net: construct.Network, target: Any) -> None:
    with pytest.raises(InputError, match=r"^target: expected a function whose values ball arithmetic proves"):
        construct.certify(net, target, CIRCLE)


def test_certify_takes_a_target_with_a_root(net: construct.Network) -> None:
    assert construct.certify(net, sqrt(abs(x0)), CIRCLE, epsilon=2.1).bound <= 2.1  # 2 at (-1, 0)
