"""Calls of a network: points of every shape, dtype, stride and size, and arguments that are none.

Oracle: the class's formula in numpy, in float64 and in extended precision; the difference of the two says how far
rounding may go where numbers are large. Which calls are to be refused is known from how their points were made.
"""

from __future__ import annotations

import contextlib
import inspect
import math
import random
import warnings
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import torch

from benchmarks.attack import oracles, pool, values
from benchmarks.attack.cases import (
    FALSE,
    NOT_FINITE,
    RIGHT,
    STATE,
    TURNED_AWAY,
    WRONG,
    Case,
    Outcome,
    Surface,
)  # fmt: skip
from benchmarks.attack.judge import refusal
from construct.network import Network

ARGUMENTS = {"x", "check", "outside", "net", "dtype", "device", "execution", "self"}
OFTEN = ("segment", "random", "coarse circle", "segment", "random")
OUTSIDE = any("outside" in inspect.signature(f).parameters for f in (Network.forward, Network.__call__))
OVERFLOW = 1e290  # numbers of the formula that may overflow in another order of the sums


def _times(factor: float) -> Callable[[np.ndarray, np.ndarray, np.random.Generator], np.ndarray]:
    """Points of a box that is larger by a factor, about its middle."""
    return lambda low, high, rng: (low + high) / 2 + factor * (high - low) / 2 * (rng.random(low.size) * 2 - 1)


def _of_size(size: float) -> Callable[[np.ndarray, np.ndarray, np.random.Generator], np.ndarray]:
    return lambda low, high, rng: size * (rng.random(low.size) * 2 - 1)


SCALES: dict[str, Callable[[np.ndarray, np.ndarray, np.random.Generator], np.ndarray]] = {
    "in the box": _times(1.0),
    "on a face": lambda low, high, rng: np.where(rng.random(low.size) < 0.5, low, high),
    "beyond a face by an ulp": lambda low, high, rng: np.where(
        rng.random(low.size) < 0.5, np.nextafter(low, -np.inf), np.nextafter(high, np.inf)
    ),
    "1.01 box": _times(1.01),
    "3 box": _times(3.0),
    "1e3 box": _times(1e3),
    "1e8": _of_size(1e8),
    "1e30": _of_size(1e30),
    "1e150": _of_size(1e150),
    "1e300": _of_size(1e300),
    "subnormal": lambda low, high, rng: 5e-324 * rng.integers(-3, 4, low.size),
    "zero": lambda low, high, rng: np.zeros(low.size),
    "-0.0": lambda low, high, rng: -np.zeros(low.size),
}
ROW_KINDS = (*["on M"] * 8, *["in the box"] * 5, *SCALES, "NaN", "inf")
SHAPES = ("(D,)", "(1, D)", "(n, D)", "(n, D)", "(n, D)", "(2, 3, D)", "(2, 1, n, D)", "(0, D)", "(2, 0, D)")
WRONG_SHAPES = ("()", "(n,)", "(n, D + 1)", "(n, D - 1)", "(D, n)", "(n, D, 1)", "(0,)", "(n, 0)", "(1,)")
LAYOUTS = (*["plain"] * 12, "transposed", "strided", "expanded", "narrowed", "parameter", "requires_grad", "leaf view")
DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.int64, torch.bool, torch.complex128,
          torch.uint8, torch.complex64)  # fmt: skip
FORMS = ("numpy", "list", "sparse", "meta", "nested", "odd", "inference", "conjugate view", "negative view", "masked")


def rows(rng: np.random.Generator, kind: str, found: pool.Pooled, count: int) -> np.ndarray:
    """Points (count, D) of a kind."""
    if kind == "on M":
        return found.on[rng.integers(0, len(found.on), count)]
    if kind in ("NaN", "inf"):
        points = found.on[rng.integers(0, len(found.on), count)].copy()
        if count:
            points[rng.integers(count), rng.integers(points.shape[1])] = math.nan if kind == "NaN" else math.inf
        return points
    return np.array([SCALES[kind](found.lower, found.upper, rng) for _ in range(count)]).reshape(count, found.ambient)


class Calls(Surface):
    """`net(x)`."""

    name = "net"
    share = 932_900
    limit = 20.0
    chunk = 500
    optional = frozenset({"outside", "context", "layout", "check", "execution", "second", "gradient"})
    contexts: ClassVar[tuple[str, ...]] = ("no_grad", "inference_mode", "autocast bfloat16", "autocast float16")

    def prepare(self) -> None:
        self.pool = {name: pool.pooled(name) for name in pool.NAMES}

    def generate(self, rng: random.Random) -> Case:
        net = rng.choice(OFTEN) if rng.random() < 0.9 else rng.choice(pool.NAMES)
        choices: dict[str, Any] = {"net": net, "seed": rng.getrandbits(32), "rows": rng.choice(ROW_KINDS)}
        if rng.random() < 0.08:
            choices["form"] = rng.choice(FORMS)
            if choices["form"] == "odd":
                choices["x"] = values.odd(rng)
        if rng.random() < 0.1:
            choices["dtype"] = rng.choice(DTYPES)
        choices["shape"] = rng.choice(SHAPES if rng.random() < 0.93 else WRONG_SHAPES)
        if rng.random() < 0.3:
            choices["second"] = rng.choice(ROW_KINDS)  # one row of another kind in the batch
        choices["layout"] = rng.choice(LAYOUTS)
        if rng.random() < 0.5:
            choices["execution"] = rng.choice(("sparse", "dense"))
        if rng.random() < 0.06:
            choices["check"] = values.odd(rng) if rng.random() < 0.1 else True
        if rng.random() < 0.1:
            choices["context"] = rng.choice(self.contexts)
        if rng.random() < 0.02:
            choices["gradient"] = True
        outside = rng.choice(("raise", "warn", "evaluate")) if rng.random() < 0.95 else values.odd(rng)
        if rng.random() < 0.3 and OUTSIDE:
            choices["outside"] = outside
        if rng.random() < 5e-5:
            choices |= {"shape": "(10**6, D)", "net": "random"}
        return Case(choices)

    # -- the points -------------------------------------------------------------------------------

    def points(self, case: Case, found: pool.Pooled) -> np.ndarray:
        """The rows of a case in the shape that it names, float64."""
        rng = np.random.default_rng(case["seed"])
        n, d, shape = int(rng.integers(2, 6)), found.ambient, case["shape"]
        lengths = {"n": n, "D": d, "D + 1": d + 1, "D - 1": d - 1, "10**6": 10**6}
        parts = [part.strip() for part in shape.strip("()").split(",") if part.strip()]
        wanted = tuple(lengths[part] if part in lengths else int(part) for part in parts)
        count = math.prod(wanted) // d if wanted and wanted[-1] == d else -(-math.prod(wanted) // d) + 1
        if count > 10**5:
            flat = np.tile(rows(rng, case["rows"], found, 1000), (count // 1000, 1))
        else:
            flat = rows(rng, case["rows"], found, count)
        second = case.get("second")
        if second is not None and len(flat) > 1:
            flat = flat.copy()
            flat[-1:] = rows(rng, second, found, 1)
        return np.asarray(flat.reshape(-1)[: math.prod(wanted)].reshape(wanted))

    def tensor(self, case: Case, found: pool.Pooled) -> Any:
        """x as it is handed over."""
        points, dtype = self.points(case, found), case.get("dtype", found.net.dtype)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            x = torch.from_numpy(np.array(points, order="C")).to(dtype)
        layout, form = case.get("layout", "plain"), case.get("form")
        if layout == "transposed" and x.ndim >= 2:
            x = x.mT.contiguous().mT
        elif layout == "strided" and x.ndim >= 1:
            x = torch.stack([x, torch.zeros_like(x)], dim=-1)[..., 0]
        elif layout == "expanded" and x.ndim >= 2 and x.shape[0] > 0:
            x = x[:1].expand(3, *x.shape[1:])
        elif layout == "narrowed" and x.ndim >= 1:
            x = torch.cat([x, x], dim=-1)[..., : x.shape[-1]]
        elif layout in ("requires_grad", "parameter", "leaf view") and x.dtype.is_floating_point:
            x = torch.nn.Parameter(x) if layout == "parameter" else x.requires_grad_()
            x = x.view(x.shape) if layout == "leaf view" else x
        return x if form is None else self.other_form(case, x, form)

    @staticmethod
    def other_form(case: Case, x: torch.Tensor, form: str) -> Any:
        plain = x.detach()
        if form == "numpy":
            return plain.float().numpy() if plain.dtype == torch.bfloat16 else plain.numpy()
        if form == "list":
            return plain.tolist()
        if form == "sparse":
            return plain.to_sparse()
        if form == "meta":
            return plain.to("meta")
        if form == "nested":
            if not plain.dtype.is_floating_point or not plain.ndim:
                return plain
            with warnings.catch_warnings():  # torch's own word about nested tensors is no finding
                warnings.simplefilter("ignore")
                return torch.nested.nested_tensor([plain, plain])
        if form == "inference":
            with torch.inference_mode():
                return plain.clone()
        if form == "conjugate view":
            return plain.to(torch.complex128).conj()
        if form == "negative view":
            return torch.complex(torch.zeros_like(plain.double()), plain.double()).conj().imag
        if form == "masked":
            return plain.numpy(force=True).view(np.ma.MaskedArray) if plain.dtype == torch.float64 else None
        return case["x"]

    # -- the call ---------------------------------------------------------------------------------

    def run(self, case: Case) -> Outcome:
        found = self.pool[case["net"]]
        x = self.tensor(case, found)
        found.net.execution = case.get("execution", "sparse")
        before = x.detach().clone() if isinstance(x, torch.Tensor) and not x.is_meta else None
        options = {name: case[name] for name in ("check", "outside") if name in case.choices}
        try:
            with warnings.catch_warnings(record=True) as heard, self.context(case.get("context")):
                warnings.simplefilter("always")
                out = found.net(x, **options)
        except Exception as error:
            return self.refused(case, found, x, refusal(error, ARGUMENTS))
        warned = [warning for warning in heard if warning.category.__name__ == "OutsideWarning"]
        for warning in heard:
            if warning not in warned:
                warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
        if before is not None and before.layout == torch.strided and not before.is_nested:
            kept = torch.equal(x.detach(), before) or not bool(torch.isfinite(before).all())
            if not kept:
                return Outcome(STATE, "x was written to")
        return self.outside(case, found, x, len(warned)) or self.accepted(case, found, x, out)

    def outside(self, case: Case, found: pool.Pooled, x: Any, warned: int) -> Outcome | None:
        """None if points outside the box were let through, and warned of, as was asked for."""
        if not OUTSIDE or not self.valid(found, x):
            return None
        mode = self.mode(case)
        if not isinstance(mode, str) or mode not in ("raise", "warn", "evaluate"):
            return Outcome(FALSE, "outside", values_text(mode))
        flat = x.detach().resolve_neg().numpy().reshape(-1, found.ambient)
        count = int((~found.inside(flat)).sum())
        if count and mode == "raise":
            return Outcome(FALSE, "outside='raise', points outside the box", case.text)
        if (warned > 0) != (count > 0 and mode == "warn") or warned > 1:
            return Outcome(WRONG, f"{warned} warnings, outside={mode!r}", f"{count} points outside the box")
        return None

    @staticmethod
    def mode(case: Case) -> Any:
        """What is asked for; None, or nothing, is the network's own way, which is to warn."""
        mode = case.get("outside")
        return "warn" if mode is None else mode

    @staticmethod
    @contextlib.contextmanager
    def context(name: str | None) -> Any:
        if name == "no_grad":
            with torch.no_grad():
                yield
        elif name == "inference_mode":
            with torch.inference_mode():
                yield
        elif name is not None:
            with torch.autocast("cpu", dtype=getattr(torch, name.split()[1])):
                yield
        else:
            yield

    @staticmethod
    def valid(found: pool.Pooled, x: Any) -> bool:
        """Whether x is what `net` documents: finite points (..., D) of its dtype on its device."""
        if not isinstance(x, torch.Tensor) or x.layout != torch.strided or x.is_meta or x.is_nested:
            return False
        right = x.dtype == found.net.dtype and x.ndim >= 1 and x.shape[-1] == found.ambient
        return right and bool(torch.isfinite(x).all())

    def refused(self, case: Case, found: pool.Pooled, x: Any, outcome: Outcome) -> Outcome:
        """A refusal is right if x is not valid, or a number of the formula overflows, or a check was to fail."""
        if outcome.found or not self.valid(found, x):
            return outcome
        check, mode = case.get("check", False), self.mode(case)
        if not isinstance(check, bool):
            return outcome
        if not isinstance(mode, str) or mode not in ("raise", "warn", "evaluate"):
            return outcome
        flat = x.detach().double().resolve_neg().numpy().reshape(-1, found.ambient)
        if mode == "raise" and not found.inside(flat).all():
            return outcome
        if check is True:
            if not found.knows_manifold:
                return outcome
            with np.errstate(all="ignore"):
                apart = np.abs(flat[:, None] - found.on[None]).max(axis=2).min(axis=1) if len(flat) < 10**4 else [1.0]
            if max(apart, default=0.0) > 1e-9:
                return outcome  # not one of the points that are known to be on M
        largest = self.largest(found, flat)
        if largest > (1e30 if found.net.dtype == torch.float32 else OVERFLOW):
            return outcome
        return Outcome(TURNED_AWAY, f"valid points, numbers up to 1e{int(math.log10(max(largest, 1)))}", outcome.detail)

    @staticmethod
    def largest(found: pool.Pooled, flat: np.ndarray) -> float:
        """The largest number of the formula at these points, bounded by its value with absolute weights."""
        flat = flat[np.argsort(-np.abs(flat).max(axis=1, initial=0.0), kind="stable")]
        positive = {n: np.abs(t) if t.dtype.kind == "f" else t for n, t in found.tensors.items()}
        with np.errstate(all="ignore"):
            found_ = float(np.abs(oracles.dense(positive, np.abs(flat[:200]), np.longdouble)).max(initial=0))
        return found_ if math.isfinite(found_) else math.inf

    def accepted(self, case: Case, found: pool.Pooled, x: Any, out: Any) -> Outcome:
        """A value is right if x is valid and the formula has it."""
        if not self.valid(found, x):
            why = case.get("form") or case.get("dtype") or case["shape"]
            return Outcome(FALSE, f"x: {why}, {case['rows']}", f"{values_text(x)} gave {values_text(out)}")
        check = case.get("check", False)
        if not isinstance(check, bool):
            return Outcome(FALSE, "check that is no bool", values_text(check))
        if not isinstance(out, torch.Tensor) or out.shape != x.shape[:-1] or out.dtype != found.net.dtype:
            return Outcome(WRONG, "shape or dtype of the result", values_text(out))
        got = out.detach().double().resolve_neg().numpy().reshape(-1)
        if not np.isfinite(got).all():
            return Outcome(NOT_FINITE, f"{case['rows']}, {case.get('execution', 'sparse')}", values_text(out))
        flat = x.detach().resolve_neg().numpy().reshape(-1, found.ambient)
        if check is True and len(flat) and found.knows_manifold:
            with np.errstate(all="ignore"):
                off = np.abs((flat.astype(float) ** 2).sum(axis=1) - 1)
            if np.max(off) > 1e-2 and ("circle" in case["net"] or case["net"] == "sphere"):
                return Outcome(FALSE, "check=True, points off the manifold")
        if len(flat) > 10**5:
            flat, got = flat[::5003], got[::5003]
        return self.compared(case, found, flat, got) or self.differentiated(case, found, x, out) or Outcome(RIGHT)

    def compared(self, case: Case, found: pool.Pooled, flat: np.ndarray, got: np.ndarray) -> Outcome | None:
        """None if values are those of the formula, up to rounding."""
        if not len(flat):
            return None
        rounded = oracles.dense(found.tensors, flat, flat.dtype)
        tolerance: Any = found.tolerance
        if np.isfinite(rounded).all() and (np.abs(got - rounded) <= tolerance).all():
            return None
        precise = oracles.dense(found.tensors, flat, np.longdouble)
        inside = found.inside(flat)
        with np.errstate(all="ignore"):  # outside, numbers are large: as much as rounding did here, and more
            lost = np.where(np.isfinite(rounded), np.abs(rounded - precise), np.inf)
            relative = 1e-9 if flat.dtype == np.float64 else 1e-3
            tolerance = found.tolerance + np.where(inside, 0.0, 1e4 * lost + relative * np.abs(precise))
        with np.errstate(all="ignore"):
            off = np.abs(got - precise)
            bad = ~(off <= tolerance)
        if not bad.any():
            return None
        i = int(np.argmax(bad))
        text = f"{got[i]!r} instead of {float(precise[i])!r} at {flat[i].tolist()}"
        return Outcome(WRONG, f"{case['rows']}, {case.get('execution', 'sparse')}", text)

    @staticmethod
    def differentiated(case: Case, found: pool.Pooled, x: torch.Tensor, out: torch.Tensor) -> Outcome | None:
        """None if the gradient in x is that of difference quotients, where the formula is smooth."""
        wanted = case.get("gradient") and x.requires_grad and x.is_leaf and 0 < x.numel() < 100
        if not wanted or not out.requires_grad or found.net.dtype != torch.float64:
            return None
        (gradient,) = torch.autograd.grad(out.sum(), x)
        flat, g = x.detach().numpy().reshape(-1, found.ambient), gradient.numpy().reshape(-1, found.ambient)
        if not np.isfinite(g).all():
            return Outcome(NOT_FINITE, f"gradient, {case['rows']}")
        inside = found.inside(flat)
        for j in range(found.ambient):
            step = np.zeros(found.ambient)
            step[j] = 2.0**-20
            at = [oracles.dense(found.tensors, flat + k * step, np.longdouble) for k in (-1, 0, 1)]
            left, right = (at[1] - at[0]) / 2.0**-20, (at[2] - at[1]) / 2.0**-20
            smooth = inside & (np.abs(left - right) < 1e-3 * (1 + np.abs(left)))
            if (np.abs(g[:, j] - (left + right) / 2)[smooth] > 5e-3 * (1 + np.abs(left[smooth]))).any():
                return Outcome(WRONG, f"gradient, {case['rows']}")
        return None


def values_text(value: Any) -> str:
    """A value in one short line."""
    try:
        return repr(value).replace("\n", " ")[:200]
    except Exception as error:
        return f"<no repr: {type(error).__name__}>"
