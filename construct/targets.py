"""Named functions to approximate, and the one door through which a user's own function is called.

A built-in takes `x (..., D)` of any `D >= 1` and returns `(...)` in the dtype and on the device of `x`; of
`x` it reads the first three coordinates `x0, x1, x2`, those that a small `D` lacks counting as 0. All are
differentiable by torch, a Hölder one with gradient 0 where it has none. Each is defined by an `Expression`, so that
ball arithmetic and jets see the same function as torch does. To state a function of a manifold's
intrinsic coordinates instead, use `manifold.lift`. `spike` and `weierstrass_all` make further targets: of other widths
and places, and for the affine hull of a manifold.

Length scales are in units of the coordinates: the distance over which the feature takes place.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import math
import operator
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from construct.arrays import Float
from construct.errors import ConstructError, InputError
from construct.expressions import Expression, cos, exp, sin, sqrt, tanh, variables
from construct.manifolds import Manifold
from construct.manifolds.canonical import canonical_form
from construct.validation import described, integer, invalid, is_strided, one_of, positive_real, real, reals

__all__ = [
    "Target",
    "check_target",
    "evaluate_target",
    "length_scale_of",
    "load_target",
    "spike",
    "target",
    "target_names",
    "weierstrass_all",
]

READABLE_DTYPES = (torch.float32, torch.float64)
READABLE = "real values of float32 or float64"
HINT = "for a function of one point use torch.func.vmap(f)"
REPEATED, REPEATED_SINGLE = 1e-9, 1e-4
"""How far two calls may differ by rounding, of the largest value, in float64 and float32."""
WEIERSTRASS_TERMS = 24
HULL_SAMPLE, HULL_SPAN = 1000, 1e-9  # points that span the hull; singular values below this share of the largest are 0
SCALES = (1e-100, 1e100)  # of lengths: beyond, their powers leave the range of float64


def length_scale_of(target: Any) -> float | None:
    """The `length_scale` that a target states, in the unit of x; None where it states none.

    Raises:
        InputError: it is no number in `SCALES`, or reading it raises.
    """
    expected = f"a length_scale that is None or a finite number from {SCALES[0]:g} to {SCALES[1]:g}"
    try:
        stated = target.length_scale
    except AttributeError as error:  # of a property that fails on its way, or because there is none
        if inspect.getattr_static(target, "length_scale", None) is None:
            return None
        raise invalid("target", expected, got=f"one that raised {_said(error)}") from error
    except Exception as error:
        raise invalid("target", expected, got=f"one that raised {_said(error)}") from error
    if stated is None:
        return None
    try:
        scale = positive_real(stated, "length_scale")
    except InputError:
        scale = math.nan
    if not SCALES[0] <= scale <= SCALES[1]:
        raise invalid("target", expected, got=f"length_scale = {described(stated)}")
    return scale


@dataclass(frozen=True)
class Target:
    """A function on `R^D` with what is known of it.

    `smoothness` is the Hölder exponent beta (theory: `s` derivatives, the last one alpha-Hölder, beta = s +
    alpha), `inf` for an analytic function. `length_scale` is None where no feature is sharper than the unit.
    `expression` is the function for other number types than tensors, None where it is known to torch only; of x
    it reads coordinates 0 to arity - 1, and those that R^D lacks count as 0 (`Expression.restricted`).
    """

    name: str
    description: str
    function: Callable[[Tensor], Tensor]
    smoothness: float = math.inf
    length_scale: float | None = None
    expression: Expression | None = None

    def __post_init__(self) -> None:
        if not self.smoothness > 0:
            raise invalid("smoothness", "a number > 0", self.smoothness)
        length_scale_of(self)

    @property
    def smooth(self) -> bool:
        """True for an analytic target."""
        return math.isinf(self.smoothness)

    def __call__(self, x: Tensor) -> Tensor:
        return self.function(x)

    def __repr__(self) -> str:
        beta = "analytic" if self.smooth else f"beta={self.smoothness:g}"
        scale = "" if self.length_scale is None else f", length scale {self.length_scale:g}"
        return f"Target({self.name!r}: {self.description}; {beta}{scale})"


def _values(expression: Expression, x: Tensor) -> Tensor:
    """Values of an expression at `x (..., D)`, coordinates past D counting as 0."""
    return expression.restricted(x.shape[-1])(x)


def _built_in(
    name: str,
    description: str,
    expression: Expression,
    smoothness: float = math.inf,
    length_scale: float | None = None,
) -> Target:
    function = functools.partial(_values, expression)
    return Target(name, description, function, smoothness, length_scale, expression)


def spike(width: float = 0.04, centre: Sequence[float] = (1.0, 0.0, 0.0), height: float = 3.0) -> Target:
    """`sin(2 x1) + height exp(-|x - centre|^2 / (2 width^2))`: a Gaussian on a smooth function, entire.

    Args:
        width: w > 0 in the unit of x, the target's `length_scale`.
        centre: one number for each of the coordinates 0, 1, ... that the distance is taken in.
        height: over the smooth function.

    Raises:
        InputError: a width that is not positive, or no length that float64 can square; a centre that is empty or not of
            finite numbers; a height that is not finite.
    """
    width, height = positive_real(width, "width"), real(height, "height")
    if isinstance(centre, str) or not isinstance(centre, Sequence) or not centre:
        raise invalid("centre", "a sequence of one number or more", centre)
    place = reals(tuple(centre), "centre", len(centre))
    squares = ((x - c) ** 2 if c else x**2 for x, c in zip(variables(len(place)), place, strict=True))
    at = ",".join(f"{c:g}" for c in place)
    return _built_in(
        "spike",
        f"sin(2 x1) + {height:g} exp(-|x - ({at})|^2 / (2 w^2)), entire",
        sin(2 * variables(2)[1]) + height * exp(-_sum(squares) / (2 * width**2)),
        length_scale=width,
    )


def weierstrass_all(manifold: Manifold, seed: int = 0) -> Target:
    """The mean of `weierstrass` over 3 d directions of the affine hull of M: rough everywhere, in every direction.

    The directions are unit vectors, isotropic in the hull: normal vectors of canonical coordinates y, projected to the
    span of differences of points of M. So it is the same function of y in every R^D. Of x it reads all D coordinates;
    from some hundred on, it is too long to be written out (`Expression.to_json`).

    Raises:
        InputError: no manifold, or a bad seed.
    """
    if not isinstance(manifold, Manifold):
        raise invalid("manifold", "a construct.manifolds.Manifold", manifold)
    plain = canonical_form(manifold)
    points = plain.sample(HULL_SAMPLE, 0).numpy()
    size, span = np.linalg.svd(points - points.mean(axis=0), full_matrices=False)[1:]
    hull = span[size > HULL_SPAN * size[0]]
    normal = _normal_vectors(3 * manifold.dim, plain.canonical, seed)
    directions = _unit(normal if len(hull) == plain.canonical else normal @ hull.T @ hull)
    if not manifold.embedded:
        return _weierstrass_mean(directions)
    return _weierstrass_mean(directions @ manifold.frame.numpy().T, manifold.offset.numpy())


def _normal_vectors(count: int, dimension: int, seed: int) -> Float:
    return np.random.default_rng(integer(seed, "seed")).standard_normal((count, dimension))


def _unit(vectors: Float) -> Float:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def _sum(terms: Iterable[Expression]) -> Expression:
    return functools.reduce(operator.add, terms)


def _weierstrass(t: Expression) -> Expression:
    """The sum over k < WEIERSTRASS_TERMS of 2^(-k/2) cos(2^k pi t)."""
    return _sum(2 ** (-k / 2) * cos(2**k * math.pi * t) for k in range(WEIERSTRASS_TERMS))


def _weierstrass_mean(directions: Float, offset: Float | None = None) -> Target:
    """The mean of `_weierstrass(<v, x - offset>)` over the rows v of directions (n, D)."""
    x = variables(directions.shape[1])
    along = [_sum(v * xj for v, xj in zip(row.tolist(), x, strict=True)) for row in directions]
    if offset is not None and offset.any():
        along = [t - float(v @ offset) for t, v in zip(along, directions, strict=True)]
    return _built_in(
        "weierstrass_all",
        f"mean of weierstrass over {len(along)} unit vectors, rough to 2^-{WEIERSTRASS_TERMS} in every direction",
        _sum(map(_weierstrass, along)) / len(along),
        smoothness=0.5,
    )


x0, x1, x2 = variables(3)

_BUILT_IN = {
    target.name: target
    for target in (
        _built_in("exp_sin", "exp(x0) sin(3 x1 + x2), entire", exp(x0) * sin(3 * x1 + x2)),
        _built_in("sin_product", "sin(2 x0) cos(3 x1) cos(x2), entire", sin(2 * x0) * cos(3 * x1) * cos(x2)),
        _built_in("polynomial", "x0^3 - 3 x0 x1^2 + x0 x2 / 2 + 1/4", x0**3 - 3 * x0 * x1**2 + x0 * x2 / 2 + 0.25),
        _built_in("oscillation", "cos(10 x0 + 4 x1), entire", cos(10 * x0 + 4 * x1), length_scale=0.1),
        _built_in(
            "gaussian_bump",
            "exp(-|(x0,x1,x2) - (1,0,0)|^2 / (2 w^2)), entire",
            exp(-((x0 - 1) ** 2 + x1**2 + x2**2) / (2 * 0.25**2)),
            length_scale=0.25,
        ),
        spike(),
        _built_in("runge", "1 / (1 + (x0/w)^2), poles at x0 = +-i w", 1 / (1 + (x0 / 0.2) ** 2), length_scale=0.2),
        _built_in("tanh_front", "tanh((x0 - x1/2) / w), a smooth front", tanh((x0 - x1 / 2) / 0.2), length_scale=0.2),
        _built_in("root", "sqrt|x0|", sqrt(abs(x0)), smoothness=0.5),
        _built_in("cusp", "sqrt|(x0,x1,x2) - (1,0,0)|", ((x0 - 1) ** 2 + x1**2 + x2**2) ** 0.25, smoothness=0.5),
        _built_in(
            "weierstrass",
            f"sum over k < {WEIERSTRASS_TERMS} of 2^(-k/2) cos(2^k pi x0), rough to 2^-{WEIERSTRASS_TERMS}",
            _weierstrass(x0),
            smoothness=0.5,
        ),
        _weierstrass_mean(_unit(_normal_vectors(9, 3, seed=0))),
        _built_in("kink", "|x0|", abs(x0), smoothness=1.0),
        _built_in("cubic_kink", "|x0|^3", abs(x0) ** 3, smoothness=3.0),
        _built_in(
            "chirp",  # Lipschitz, with a cone at (1,0,0); there 3 / (0.06 + r) turns by 1 over r = 0.06^2 / 3
            "sin(3 / (0.06 + |(x0,x1,x2) - (1,0,0)|)), oscillates faster and faster towards a cone",
            sin(3 / (0.06 + sqrt((x0 - 1) ** 2 + x1**2 + x2**2))),
            smoothness=1.0,
            length_scale=0.0012,
        ),
    )
}


def target_names() -> tuple[str, ...]:
    """Names of the built-in targets."""
    return tuple(_BUILT_IN)


def target(name: str) -> Target:
    """The built-in target `name`; `InputError` with the known names otherwise."""
    return _BUILT_IN[one_of(name, "target", _BUILT_IN)]


def load_target(specification: str) -> Callable[..., Any]:
    """A built-in by its name, or the object that `module:function` names (dots allowed on both sides).

    The module is imported as Python finds it; no string is evaluated. Raises `InputError` when the name is
    not of either form, the module cannot be imported, or what it holds is not callable.
    """
    if ":" not in specification:
        return target(specification)
    module_name, _, attribute = specification.partition(":")
    if not all(part.isidentifier() for part in [*module_name.split("."), *attribute.split(".")]):
        raise invalid("target", "a built-in name or module:function", specification)
    try:
        found: Any = importlib.import_module(module_name)
    except Exception as error:
        got = f"{module_name!r}, which raised {_said(error)}"
        raise invalid("target", "an importable module", got=got) from error
    for part in attribute.split("."):
        if not hasattr(found, part):
            raise invalid("target", f"a function of module {module_name!r}", got=f"{attribute!r}, which it has not")
        found = getattr(found, part)
    if not callable(found):
        raise invalid("target", "a callable", got=f"{specification!r} of type {type(found).__name__}")
    return found


def evaluate_target(target: Callable[..., Any], x: Tensor) -> Tensor:
    """Values of `target` at `x (..., D)` as a detached float64 tensor `(...)` on the device of `x`.

    `target` may be written for torch tensors or for numpy arrays: it is called with `x` first, and with an
    array if that raises a TypeError, AttributeError or RuntimeError. Raises `InputError` (naming `target`)
    when it raises on both, leaves the program (`SystemExit`), writes into `x`, or returns anything but finite, real
    float32 or float64 numbers of the shape of `x` without its last axis. Errors of this library (a lifted function off
    its manifold, say) and KeyboardInterrupt pass through.
    """
    if not callable(target):
        raise invalid("target", "a callable x (..., D) -> (...)", target)
    given = x.detach()
    if given.is_inference():  # such a tensor does not tell whether it was written to
        with torch.inference_mode(mode=False):
            given = given.clone()
    written = given._version
    values = _as_tensor(_call(target, given), x)
    if given._version != written:
        raise _writes()
    if values.dtype not in READABLE_DTYPES:
        raise invalid("target", READABLE, got=str(values.dtype))
    if values.shape != x.shape[:-1]:
        raise _misshapen(x, f"values of shape {tuple(values.shape)}")
    values = values.detach().to(device=x.device, dtype=torch.float64)
    finite = torch.isfinite(values)
    if not bool(finite.all()):
        index = tuple(int(i) for i in (~finite).nonzero()[0])
        share = f"{int((~finite).sum())} of {finite.numel()} points"
        raise invalid("target", "finite values", got=f"{values[index].item()} at x = ({_place(x[index])}) ({share})")
    if values.untyped_storage().data_ptr() == x.untyped_storage().data_ptr():
        values = values.clone()  # a column of x itself
    return values


def check_target(target: Callable[..., Any], x: Tensor) -> None:
    """Refuse what is not a function of one row at a time, at points x (n, D), n > D.

    Raises:
        InputError: what `evaluate_target` refuses; two calls at the same points, or calls in batches of another size,
            give different values; x is written into.
    """
    given = x.clone()
    values = evaluate_target(target, given)
    if not torch.equal(given, x):
        raise _writes()
    tolerance = (REPEATED_SINGLE if _single(target, x) else REPEATED) * max(1.0, float(values.abs().max()))
    _same(
        values,
        evaluate_target(target, x.clone()),
        x,
        tolerance,
        "a function: the same values in every call",
        "two calls",
    )
    for batch in (slice(0, 1), slice(len(x) // 2, None)):
        alone = evaluate_target(target, x[batch].clone())
        expected = "one value per row, whatever the other rows are"
        _same(values[batch], alone, x[batch], tolerance, expected, "among other rows and without them")


def _same(first: Tensor, second: Tensor, x: Tensor, tolerance: float, expected: str, when: str) -> None:
    apart = (first - second).abs()
    if not float(apart.max()) <= tolerance:
        i = int(apart.argmax())
        got = f"{first[i].item():.9g} and {second[i].item():.9g} at x = ({_place(x[i])}), {when}"
        raise invalid("target", expected, got=got)


def _single(target: Callable[..., Any], x: Tensor) -> bool:
    """Whether the values are those of float32."""
    return _as_tensor(_call(target, x.clone()), x).dtype == torch.float32


def _place(point: Tensor) -> str:
    return ", ".join(f"{v:.6g}" for v in point[:8].tolist()) + (", ..." if len(point) > 8 else "")


def _writes() -> InputError:
    return invalid(
        "target", "a function that leaves x as it is", got="one that writes into it; let it start with x.clone()"
    )


def _misshapen(x: Tensor, got: str) -> InputError:
    shape = tuple(x.shape[:-1])
    expected = f"one value per row, shape {shape} for x of shape {tuple(x.shape)}"
    column = got.endswith(f"{(*shape, 1)}")
    advice = "take its column: lambda x: f(x)[..., 0]" if column else HINT
    return invalid("target", expected, got=f"{got}; {advice}" if x.ndim > 1 else got)


def _call(target: Callable[..., Any], x: Tensor) -> Any:
    try:
        with warnings.catch_warnings():  # numpy functions work on tensors; numpy warns of how torch wraps the result
            warnings.filterwarnings("ignore", message="__array_wrap__ must accept", category=DeprecationWarning)
            return target(x)
    except (ConstructError, KeyboardInterrupt):
        raise
    except (TypeError, AttributeError, RuntimeError) as torch_error:
        try:
            return target(x.cpu().numpy())
        except (ConstructError, KeyboardInterrupt):
            raise
        except BaseException as numpy_error:
            got = f"one that raised {_said(torch_error)} on a torch tensor and {_said(numpy_error)} on a numpy array"
            raise invalid("target", _wanted(x), got=f"{got}; {_advice(target, x)}") from torch_error
    except BaseException as error:  # whatever it was: SystemExit from a user's function ends no program
        raise invalid("target", _wanted(x), got=f"one that raised {_said(error)}; {_advice(target, x)}") from error


def _wanted(x: Tensor) -> str:
    return f"a function of x with shape {tuple(x.shape)} and dtype {x.dtype}"


def _advice(target: Callable[..., Any], x: Tensor) -> str:
    """What the user may do about a target that raises: whether float32 or single points would do."""
    try:
        target(x.float())
    except KeyboardInterrupt:
        raise
    except BaseException:
        return HINT
    return "for a function of float32 use lambda x: f(x.float())"


def _said(error: BaseException) -> str:
    text = str(error)
    return f"{type(error).__name__} ({text if text.isprintable() else ascii(text)})"


def _as_tensor(values: Any, x: Tensor) -> Tensor:
    if isinstance(values, Tensor):
        if not is_strided(values):
            raise invalid("target", READABLE, values)
        return values
    if np.ma.is_masked(values):
        raise invalid("target", "values", got=f"a numpy array with {np.ma.count_masked(values)} of them masked")
    if isinstance(values, np.ndarray | np.generic):
        try:
            return torch.from_numpy(np.array(values, order="C"))
        except TypeError:
            raise invalid("target", READABLE, got=f"numpy {values.dtype}") from None
    if isinstance(values, int | float):
        if x.ndim == 1 and isinstance(values, float):  # a single point of shape (D,)
            return torch.tensor(values, dtype=torch.float64)
        raise _misshapen(x, f"the number {values!r}")
    raise invalid("target", "a torch tensor or a numpy array", values)
