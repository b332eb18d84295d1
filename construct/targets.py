"""Named functions to approximate, and the one door through which a user's own function is called.

A built-in takes `x (..., D)` of any `D >= 1` and returns `(...)` in the dtype and on the device of `x`; of
`x` it reads the first three coordinates `x0, x1, x2`, those that a small `D` lacks counting as 0. All are
differentiable by torch, a Hölder one with gradient 0 where it has none. To state a function of a manifold's
intrinsic coordinates instead, use `manifold.lift`.

Length scales are in units of the coordinates: the distance over which the feature takes place.
"""

from __future__ import annotations

import importlib
import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from construct.errors import ConstructError, InputError

__all__ = ["Target", "evaluate_target", "get", "load_target", "names"]

READABLE_DTYPES = (torch.float32, torch.float64)
WEIERSTRASS_TERMS = 24


@dataclass(frozen=True)
class Target:
    """A function on `R^D` with what is known of it.

    `smoothness` is the Hölder exponent beta (theory: `s` derivatives, the last one alpha-Hölder, beta = s +
    alpha), `inf` for an analytic function. `length_scale` is None where no feature is sharper than the unit.
    """

    name: str
    description: str
    function: Callable[[Tensor], Tensor]
    smoothness: float = math.inf
    length_scale: float | None = None

    def __post_init__(self) -> None:
        if not self.smoothness > 0:
            raise InputError(f"smoothness: expected a number > 0, got {self.smoothness}")

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


def _coordinates(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """`x0, x1, x2` of `x (..., D)`, zeros for those that D lacks."""
    zero = torch.zeros_like(x[..., 0])
    first, second, third = (x[..., j] if j < x.shape[-1] else zero for j in range(3))
    return first, second, third


def _root(square: Tensor, exponent: float) -> Tensor:
    """`square^exponent` of a number >= 0, with derivative 0 (not NaN) at 0."""
    positive = square > 0
    return torch.where(positive, torch.where(positive, square, 1.0) ** exponent, 0.0)


def _exp_sin(x: Tensor) -> Tensor:
    x0, x1, x2 = _coordinates(x)
    return torch.exp(x0) * torch.sin(3 * x1 + x2)


def _sin_product(x: Tensor) -> Tensor:
    x0, x1, x2 = _coordinates(x)
    return torch.sin(2 * x0) * torch.cos(3 * x1) * torch.cos(x2)


def _polynomial(x: Tensor) -> Tensor:
    x0, x1, x2 = _coordinates(x)
    return x0**3 - 3 * x0 * x1**2 + x0 * x2 / 2 + 0.25


def _oscillation(x: Tensor) -> Tensor:
    x0, x1, _ = _coordinates(x)
    return torch.cos(10 * x0 + 4 * x1)


def _gaussian_bump(x: Tensor) -> Tensor:
    x0, x1, x2 = _coordinates(x)
    return torch.exp(-((x0 - 1) ** 2 + x1**2 + x2**2) / (2 * 0.25**2))


def _runge(x: Tensor) -> Tensor:
    x0, _, _ = _coordinates(x)
    return 1 / (1 + (x0 / 0.2) ** 2)


def _tanh_front(x: Tensor) -> Tensor:
    x0, x1, _ = _coordinates(x)
    return torch.tanh((x0 - x1 / 2) / 0.2)


def _root_plane(x: Tensor) -> Tensor:
    x0, _, _ = _coordinates(x)
    return _root(x0.abs(), 0.5)


def _cusp(x: Tensor) -> Tensor:
    x0, x1, x2 = _coordinates(x)
    return _root((x0 - 1) ** 2 + x1**2 + x2**2, 0.25)


def _weierstrass(x: Tensor) -> Tensor:
    x0, _, _ = _coordinates(x)
    total = torch.zeros_like(x0)
    for k in range(WEIERSTRASS_TERMS):
        total = total + 2 ** (-k / 2) * torch.cos(2**k * math.pi * x0)
    return total


def _kink(x: Tensor) -> Tensor:
    x0, _, _ = _coordinates(x)
    return x0.abs()


def _cubic_kink(x: Tensor) -> Tensor:
    x0, _, _ = _coordinates(x)
    return x0.abs() ** 3


_BUILT_IN = {
    target.name: target
    for target in (
        Target("exp_sin", "exp(x0) sin(3 x1 + x2), entire", _exp_sin),
        Target("sin_product", "sin(2 x0) cos(3 x1) cos(x2), entire", _sin_product),
        Target("polynomial", "x0^3 - 3 x0 x1^2 + x0 x2 / 2 + 1/4", _polynomial),
        Target("oscillation", "cos(10 x0 + 4 x1), entire", _oscillation, length_scale=0.1),
        Target(
            "gaussian_bump",
            "exp(-|(x0,x1,x2) - (1,0,0)|^2 / (2 w^2)), entire",
            _gaussian_bump,
            length_scale=0.25,
        ),
        Target("runge", "1 / (1 + (x0/w)^2), poles at x0 = +-i w", _runge, length_scale=0.2),
        Target("tanh_front", "tanh((x0 - x1/2) / w), a smooth front", _tanh_front, length_scale=0.2),
        Target("root", "sqrt|x0|", _root_plane, smoothness=0.5),
        Target("cusp", "sqrt|(x0,x1,x2) - (1,0,0)|", _cusp, smoothness=0.5),
        Target(
            "weierstrass",
            f"sum over k < {WEIERSTRASS_TERMS} of 2^(-k/2) cos(2^k pi x0), rough to 2^-{WEIERSTRASS_TERMS}",
            _weierstrass,
            smoothness=0.5,
        ),
        Target("kink", "|x0|", _kink, smoothness=1.0),
        Target("cubic_kink", "|x0|^3", _cubic_kink, smoothness=3.0),
    )
}


def names() -> tuple[str, ...]:
    """Names of the built-in targets."""
    return tuple(_BUILT_IN)


def get(name: str) -> Target:
    """The built-in target `name`; `InputError` with the known names otherwise."""
    try:
        return _BUILT_IN[name]
    except (KeyError, TypeError):
        raise InputError(f"target: expected one of {', '.join(_BUILT_IN)}, got {name!r}") from None


def load_target(specification: str) -> Callable[..., Any]:
    """A built-in by its name, or the object that `module:function` names (dots allowed on both sides).

    The module is imported as Python finds it; no string is evaluated. Raises `InputError` when the name is
    not of either form, the module cannot be imported, or what it holds is not callable.
    """
    if ":" not in specification:
        return get(specification)
    module_name, _, attribute = specification.partition(":")
    if not all(part.isidentifier() for part in [*module_name.split("."), *attribute.split(".")]):
        raise InputError(f"target: expected a built-in name or module:function, got {specification!r}")
    try:
        found: Any = importlib.import_module(module_name)
    except Exception as error:
        raise InputError(
            f"target: expected an importable module, got {module_name!r}, which raised {_said(error)}"
        ) from error
    for part in attribute.split("."):
        if not hasattr(found, part):
            raise InputError(f"target: expected a function in module {module_name!r}, it has no {attribute!r}")
        found = getattr(found, part)
    if not callable(found):
        raise InputError(f"target: expected a callable, got {specification!r} of type {type(found).__name__}")
    return found


def evaluate_target(target: Callable[..., Any], x: Tensor) -> Tensor:
    """Values of `target` at `x (..., D)` as a detached float64 tensor `(...)` on the device of `x`.

    `target` may be written for torch tensors or for numpy arrays: it is called with `x` first, and with an
    array if that raises a TypeError, AttributeError or RuntimeError. Raises `InputError` (naming `target`)
    when it raises on both, or returns anything but finite, real float32 or float64 numbers of the shape of
    `x` without its last axis. Errors of this library (a lifted function off its manifold, say) pass through.
    """
    if not callable(target):
        raise InputError(f"target: expected a callable x (..., D) -> (...), got {type(target).__name__}")
    values = _as_tensor(_call(target, x.detach()))
    if values.dtype not in READABLE_DTYPES:
        raise InputError(f"target: expected real values of float32 or float64, got {values.dtype}")
    if values.shape != x.shape[:-1]:
        raise InputError(
            f"target: expected values of shape {tuple(x.shape[:-1])} for x of shape {tuple(x.shape)},"
            f" got {tuple(values.shape)}"
        )
    values = values.detach().to(device=x.device, dtype=torch.float64)
    finite = torch.isfinite(values)
    if not bool(finite.all()):
        index = tuple(int(i) for i in (~finite).nonzero()[0])
        point = ", ".join(f"{v:.6g}" for v in x[index][:8].tolist()) + (", ..." if x.shape[-1] > 8 else "")
        raise InputError(
            f"target: expected finite values, got {values[index].item()} at x = ({point})"
            f" ({int((~finite).sum())} of {finite.numel()} points)"
        )
    return values


def _call(target: Callable[..., Any], x: Tensor) -> Any:
    try:
        with warnings.catch_warnings():  # numpy functions work on tensors; numpy warns of how torch wraps the result
            warnings.filterwarnings("ignore", message="__array_wrap__ must accept", category=DeprecationWarning)
            return target(x)
    except ConstructError:
        raise
    except (TypeError, AttributeError, RuntimeError) as torch_error:
        try:
            return target(x.cpu().numpy())
        except ConstructError:
            raise
        except Exception as numpy_error:
            raise InputError(
                f"target: expected a function of x with shape {tuple(x.shape)}; it raised"
                f" {_said(torch_error)} on a torch tensor and {_said(numpy_error)} on a numpy array"
            ) from torch_error
    except Exception as error:
        raise InputError(
            f"target: expected a function of x with shape {tuple(x.shape)}, it raised {_said(error)}"
        ) from error


def _said(error: Exception) -> str:
    return f"{type(error).__name__} ({error})"


def _as_tensor(values: Any) -> Tensor:
    if isinstance(values, Tensor):
        return values
    if isinstance(values, float):  # a single point of shape (D,); any other shape is refused by the caller
        return torch.tensor(values, dtype=torch.float64)
    if isinstance(values, np.ndarray | np.generic):
        try:
            return torch.from_numpy(np.array(values, order="C"))
        except TypeError:
            raise InputError(f"target: expected real values of float32 or float64, got numpy {values.dtype}") from None
    raise InputError(f"target: expected a torch tensor or a numpy array, got {type(values).__name__}")
