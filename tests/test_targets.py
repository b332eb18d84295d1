"""Built-in targets, targets by name, and the door through which a user's function is called."""

import math
import pickle
from collections.abc import Callable

import numpy as np
import pytest
import torch
from flint import arb

import construct
from construct import targets
from construct.errors import InputError, OffManifoldError
from construct.expressions import sin, variables
from construct.manifolds import Circle
from construct.problem import Problem
from construct.targets import Target, evaluate_target, load_target

Function = Callable[[torch.Tensor], object]
DIMENSIONS = (1, 2, 3, 8)
NINE = np.random.default_rng(0).standard_normal((9, 3))
NINE = (NINE / np.sqrt((NINE**2).sum(axis=1))[:, None]).tolist()
ROUGH = {"weierstrass", "weierstrass_all"}
ROUNDING = {"weierstrass": 1e-11, "weierstrass_all": 3e-11, "chirp": 1e-12}
"""Of targets with large arguments or slopes: up to 2^23 pi, and slopes up to 833 of arguments up to 50."""


def points(n: int, ambient: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 2 * torch.rand(n, ambient, generator=generator, dtype=torch.float64) - 1


def test_exp_sin_is_the_function_of_the_contract() -> None:
    x = points(50, 8)
    want = [math.exp(p[0]) * math.sin(3 * p[1] + p[2]) for p in x.tolist()]
    torch.testing.assert_close(targets.target("exp_sin")(x), torch.tensor(want, dtype=torch.float64))


def naive(name: str, x0: float, x1: float, x2: float) -> float:
    """The fifteen functions in plain Python, an oracle that shares nothing with their expressions."""
    beside = (x0 - 1) ** 2 + x1**2 + x2**2

    def rough(t: float) -> float:
        return math.fsum(2 ** (-k / 2) * math.cos(2**k * math.pi * t) for k in range(24))

    return {
        "exp_sin": lambda: math.exp(x0) * math.sin(3 * x1 + x2),
        "sin_product": lambda: math.sin(2 * x0) * math.cos(3 * x1) * math.cos(x2),
        "polynomial": lambda: x0**3 - 3 * x0 * x1**2 + x0 * x2 / 2 + 0.25,
        "oscillation": lambda: math.cos(10 * x0 + 4 * x1),
        "gaussian_bump": lambda: math.exp(-8 * beside),
        "runge": lambda: 1 / (1 + (x0 / 0.2) ** 2),
        "tanh_front": lambda: math.tanh((x0 - x1 / 2) / 0.2),
        "root": lambda: math.sqrt(abs(x0)),
        "cusp": lambda: math.sqrt(math.sqrt(beside)),
        "weierstrass": lambda: rough(x0),
        "weierstrass_all": lambda: math.fsum(rough(a * x0 + b * x1 + c * x2) for a, b, c in NINE) / 9,
        "spike": lambda: math.sin(2 * x1) + 3 * math.exp(-beside / 0.0032),
        "chirp": lambda: math.sin(3 / (0.06 + math.hypot(x0 - 1, x1, x2))),
        "kink": lambda: abs(x0),
        "cubic_kink": lambda: abs(x0) ** 3,
    }[name]()


@pytest.mark.parametrize("name", targets.target_names())
@pytest.mark.parametrize("ambient", DIMENSIONS)
def test_values_are_those_of_the_formula(name: str, ambient: int) -> None:
    x = points(200, ambient, seed=5)
    want = [naive(name, *[*p, 0.0, 0.0][:3]) for p in x.tolist()]
    atol = ROUNDING.get(name, 1e-14) if name != "weierstrass" else 1e-14  # there both round the same arguments
    torch.testing.assert_close(targets.target(name)(x), torch.tensor(want, dtype=torch.float64), rtol=1e-14, atol=atol)


@pytest.mark.parametrize("name", targets.target_names())
def test_expression_is_the_function(name: str) -> None:
    """In ball arithmetic, too: a box of coordinates is enclosed, and a point of it to rounding."""
    target = targets.target(name)
    assert target.expression is not None and 1 <= target.expression.arity <= 3
    rounding = ROUNDING.get(name, 1e-14)
    x = points(50, 3, seed=6)
    assert torch.equal(target.expression(x), target(x))
    for point, value in zip(x.tolist(), target(x).tolist(), strict=True):
        narrow = target.expression.ball([arb(t) for t in point])
        assert float(abs(narrow - value).upper()) < rounding
        wide = target.expression.ball([arb(t, 2.0**-10) for t in point])
        assert wide.is_finite() and wide.contains(narrow)


def test_an_expression_is_a_target() -> None:
    x0, x1 = variables(2)
    x = points(9, 3)
    torch.testing.assert_close(evaluate_target(x0**2 + sin(x1), x), x[:, 0] ** 2 + x[:, 1].sin())
    with pytest.raises(InputError, match="D >= 2"):
        evaluate_target(x0 + x1, x[:, :1])
    assert Target("mine", "", lambda x: x[..., 0]).expression is None


def test_a_built_in_can_be_pickled() -> None:
    for name in targets.target_names():
        again = pickle.loads(pickle.dumps(targets.target(name)))
        assert again.expression is targets.target(name).expression
        torch.testing.assert_close(again(points(3, 2)), targets.target(name)(points(3, 2)), rtol=0, atol=0)


@pytest.mark.parametrize("name", targets.target_names())
@pytest.mark.parametrize("ambient", DIMENSIONS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_shape_and_dtype(name: str, ambient: int, dtype: torch.dtype) -> None:
    x = points(12, ambient).to(dtype)
    values = targets.target(name)(x)
    assert values.shape == (12,) and values.dtype == dtype
    assert torch.isfinite(values).all()
    assert targets.target(name)(x.reshape(3, 4, ambient)).shape == (3, 4)
    torch.testing.assert_close(targets.target(name)(x[3]), values[3])


@pytest.mark.parametrize("name", targets.target_names())
@pytest.mark.parametrize("ambient", DIMENSIONS)
def test_missing_coordinates_count_as_zero(name: str, ambient: int) -> None:
    x = points(12, ambient)
    padded = torch.nn.functional.pad(x, (0, 8 - ambient))
    torch.testing.assert_close(targets.target(name)(x), targets.target(name)(padded), rtol=0, atol=0)


@pytest.mark.parametrize("name", sorted(set(targets.target_names()) - ROUGH))  # too rough for differences
def test_gradient_agrees_with_differences(name: str) -> None:
    target = targets.target(name)
    x = points(20, 3, seed=4)
    x = x[(x[:, 0].abs() > 0.05) & ((x - torch.eye(3)[0]).norm(dim=1) > 0.05)].requires_grad_()
    (gradient,) = torch.autograd.grad(target(x).sum(), x)
    step = 1e-5
    for j in range(3):
        e = torch.zeros(3, dtype=torch.float64)
        e[j] = step
        difference = (target(x.detach() + e) - target(x.detach() - e)) / (2 * step)
        torch.testing.assert_close(gradient[:, j], difference, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("name", targets.target_names())
def test_gradient_is_finite_at_the_singular_points(name: str) -> None:
    x = torch.tensor([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0]], dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(targets.target(name)(x).sum(), x)
    assert torch.isfinite(gradient).all()


@pytest.mark.parametrize(
    ("name", "at"),
    [("root", 0.0), ("cusp", 1.0), ("kink", 0.0), ("weierstrass", 0.0), ("weierstrass_all", 0.0)],
)
def test_hoelder_exponent_is_sharp(name: str, at: float) -> None:
    target = targets.target(name)
    h = 2.0 ** -torch.arange(4, 16, dtype=torch.float64)
    x = torch.stack([at + h, torch.zeros_like(h), torch.zeros_like(h)], dim=1)
    start = torch.tensor([[at, 0.0, 0.0]], dtype=torch.float64)
    change = (target(x) - target(start)).abs()
    slope = np.polyfit(np.log(h.numpy()), np.log(change.numpy()), 1)[0]
    assert slope == pytest.approx(target.smoothness, abs=0.02)
    assert not target.smooth


def test_description_of_a_target() -> None:
    assert "beta=0.5" in repr(targets.target("root"))
    assert "analytic" in repr(targets.target("runge")) and "0.2" in repr(targets.target("runge"))
    assert targets.target("exp_sin").smooth


def test_smoothness_must_be_positive() -> None:
    with pytest.raises(InputError, match="smoothness: expected a number > 0, got 0"):
        Target("bad", "", lambda x: x[..., 0], smoothness=0.0)


def test_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(InputError, match=r"target: expected one of \('exp_sin', .*, got 'nope'"):
        targets.target("nope")


def test_load_target() -> None:
    assert load_target("exp_sin") is targets.target("exp_sin")
    assert load_target("math:sin") is math.sin
    assert load_target("torch:special.erf") is torch.special.erf


@pytest.mark.parametrize(
    ("specification", "message"),
    [
        ("no_such_module_at_all:f", "importable module, got 'no_such_module_at_all'"),
        ("math:no_such_function", "got 'no_such_function', which it has not"),
        ("math:pi", "expected a callable, got 'math:pi' of type float"),
        ("lambda x: x", "expected a built-in name or module:function"),
        ("math:__import__('os')", "expected a built-in name or module:function"),
        ("os;print:f", "expected a built-in name or module:function"),
        (":f", "expected a built-in name or module:function"),
        ("math:", "expected a built-in name or module:function"),
    ],
)
def test_load_target_refuses(specification: str, message: str) -> None:
    with pytest.raises(InputError, match=r"^target: .*") as caught:
        load_target(specification)
    assert message in str(caught.value)


def numpy_only(x: np.ndarray) -> np.ndarray:
    if not isinstance(x, np.ndarray):
        raise TypeError("numpy arrays only")
    return np.hypot(x[..., 0], x[..., 1])


@pytest.mark.parametrize(
    "target",
    [
        lambda x: torch.hypot(x[..., 0], x[..., 1]),
        lambda x: np.hypot(x[..., 0], x[..., 1]),
        lambda x: np.linalg.norm(x[..., :2], axis=-1),
        lambda x: np.sqrt((x[..., :2].astype(float) ** 2).sum(axis=-1)),
        numpy_only,
    ],
)
def test_torch_and_numpy_functions_are_accepted(target: object) -> None:
    x = points(9, 3)
    assert callable(target)
    for shaped in (x, x.reshape(3, 3, 3), x[0]):
        values = evaluate_target(target, shaped)
        assert values.dtype == torch.float64
        torch.testing.assert_close(values, shaped[..., :2].norm(dim=-1))


def test_values_are_detached_and_float32_is_widened() -> None:
    net = torch.nn.Sequential(torch.nn.Linear(3, 1), torch.nn.Flatten(0)).double()
    assert not evaluate_target(net, points(4, 3)).requires_grad
    assert evaluate_target(lambda x: x[..., 0].float(), points(4, 3)).dtype == torch.float64


def test_a_view_that_numpy_cannot_hand_over_is_copied() -> None:
    torch.testing.assert_close(evaluate_target(lambda x: x.numpy()[::-1, 0], points(4, 3)), points(4, 3).flip(0)[:, 0])


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (
            lambda x: x,
            r"expected one value per row, shape \(5,\) for x of shape \(5, 3\), got values of shape .*; .*vmap\(f\)",
        ),
        (lambda x: x[..., :1], r"expected one value per row, shape \(5,\) .*\(5, 1\); take its column"),
        (
            lambda x: 1.0,
            r"expected one value per row, shape \(5,\) for x of shape \(5, 3\), got the number 1.0; .*vmap",
        ),
        (lambda x: x[..., 0] + 0j, "expected real values of float32 or float64, got torch.complex128"),
        (
            lambda x: x.numpy()[..., 0] + 0j,
            "expected real values of float32 or float64, got torch.complex128",
        ),
        (lambda x: x[..., 0] > 0, "got torch.bool"),
        (lambda x: x[..., 0].long(), "got torch.int64"),
        (lambda x: x[..., 0].half(), "got torch.float16"),
        (lambda x: x.numpy()[..., 0].astype(object), "got numpy object"),
        (lambda x: x[..., 0].sqrt(), r"expected finite values, got nan at x = \(-.*\(. of 5 points\)"),
        (lambda x: 1 / torch.zeros(5, dtype=torch.float64), "expected finite values, got inf"),
        (
            lambda x: x[..., 7],
            r"function of x with shape \(5, 3\) and dtype torch.float64, got one that raised IndexError",
        ),
        (lambda x: x.no_such_method(), "AttributeError"),
        (
            lambda x: np.ma.masked_array(x.numpy()[..., 0], mask=[False, True, True, False, False]),
            "expected values, got a numpy array with 2 of them masked",
        ),
        (lambda x: [0.0] * 5, r"expected a torch tensor or a numpy array, got \[0.0"),
        (3.0, "expected a callable"),
    ],
)
def test_bad_targets_are_refused(target: object, message: str) -> None:
    with pytest.raises(InputError, match=rf"^target: .*{message}"):
        evaluate_target(target, points(5, 3, seed=1))  # type: ignore[arg-type]


def test_errors_of_the_library_pass_through() -> None:
    def lifted(x: torch.Tensor) -> torch.Tensor:
        raise OffManifoldError("x must lie on the sphere")

    with pytest.raises(OffManifoldError, match="sphere"):
        evaluate_target(lifted, points(5, 3))


def tanh_of_one(p: torch.Tensor) -> torch.Tensor:
    return p[0] ** 2 + p[1]


def leaves(x: torch.Tensor) -> torch.Tensor:
    raise SystemExit(3)


def hurt(x: torch.Tensor) -> torch.Tensor:
    raise GeneratorExit


def scaled_in_place(x: torch.Tensor) -> torch.Tensor:
    x *= 2
    return x[..., 0]


def scaled_in_numpy(x: torch.Tensor) -> torch.Tensor:
    x.numpy()[..., 0] *= 2
    return x[..., 0].clone()


def single_layer(x: torch.Tensor) -> torch.Tensor:
    return (x @ torch.ones(x.shape[-1], 1))[..., 0]


def with_hole(x: torch.Tensor) -> torch.Tensor:
    return torch.where((x[..., 0] - 0.3).abs() < 2e-3, math.nan, x[..., 1])


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (tanh_of_one, r"one value per row, shape \(6,\) for x of shape \(6, 2\), got .*torch.func.vmap\(f\)"),
        (lambda x: 1.5, r"one value per row, .* got the number 1.5; .*vmap"),
        (lambda x: 2, r"one value per row, .* got the number 2"),
        (lambda x: torch.tensor(1.0), r"one value per row, .* got values of shape \(\)"),
        (lambda x: math.sin(x[0]), r"vmap\(f\)"),
        (lambda x: x[..., :1], r"one value per row, .* got values of shape \(6, 1\); take its column: .*\[..., 0\]"),
        (leaves, r"got one that raised SystemExit \(3\)"),
        (hurt, "got one that raised GeneratorExit"),
        (with_hole, r"finite values, got nan at x = \(0\.(29|30)"),
        (single_layer, r"for a function of float32 use lambda x: f\(x.float\(\)\)"),
        (lambda x: x[..., 0] - x[..., 0].mean(), "one value per row, whatever the other rows are, got .* and .* at x"),
        (
            lambda x: torch.rand(len(x), dtype=x.dtype),
            "the same values in every call, got .* and .*two calls",
        ),
        (scaled_in_place, "leaves x as it is, got one that writes into it"),
        (scaled_in_numpy, "leaves x as it is, got one that writes into it"),
        (lambda x: x[..., 0] + 0j, "real values of float32 or float64, got torch.complex128"),
        (lambda x: x[..., 0] > 0, "real values of float32 or float64, got torch.bool"),
    ],
)
def test_a_bad_target_is_refused_before_anything_is_planned(function: Function, message: str) -> None:
    with pytest.raises(InputError, match=f"^target: expected {message}|^target: .*{message}"):
        Problem(function, Circle(), 1e-3)


def test_an_interrupt_is_the_users_own() -> None:
    def interrupted(x: torch.Tensor) -> torch.Tensor:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Problem(interrupted, Circle(), 1e-3)


def test_odd_but_right_targets_are_taken() -> None:
    weight = torch.ones(2, dtype=torch.float64, requires_grad=True)
    for function in (
        lambda x: x[..., 0],
        lambda x: x @ weight,
        lambda x: x.float()[..., 0].sin(),
        torch.func.vmap(tanh_of_one),
    ):
        assert Problem(function, Circle(), 1e-3).survey is not None
    x = points(6, 2)
    values = evaluate_target(lambda x: x[..., 0], x)
    values += 1  # not the storage of x
    torch.testing.assert_close(x, points(6, 2), rtol=0, atol=0)
    assert not evaluate_target(lambda x: x @ weight, x).requires_grad


@pytest.mark.parametrize("size", [1e301, 1.7e308])
def test_values_whose_fits_would_overflow_are_refused(size: float) -> None:
    with pytest.raises(InputError, match=r"^target: expected values of at most 1e\+300, .*, got"):
        construct.approximate(
            lambda x: size * torch.tanh(100 * x[..., 0]), construct.manifolds.Cube(1), charts=5, degree=2
        )
