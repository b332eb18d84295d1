"""`load`: from a file back to a network, which believes of the file no more than it has to.

Checked field by field: `construct.files`. Checked by mathematics: the program compiles to exactly the weights beside it
(at once where that is cheap, otherwise when `net.program` is first asked for); the manifold lies in the network's R^D
and in its box. Not to be checked here is what was measured or proved of the target, which a file does not hold: claims
say that they were read from a file.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from os import PathLike
from typing import Any, TypeVar, cast

import numpy as np
import torch

from construct import manifolds
from construct.boxes import centred
from construct.certificates.certificate import ANGLES, Certificate, certificate_of
from construct.certificates.extraction.codes import angles
from construct.compact import geometry as compact_geometry
from construct.devices import on_cpu
from construct.documents import at_place
from construct.errors import InputError
from construct.files import FORMAT, Saved, SavedOrigin, read_saved
from construct.inputs import ON_MANIFOLD, known_device
from construct.manifolds import Manifold
from construct.network import Network
from construct.origin import Origin, StatedProgram
from construct.paper import layout as paper_layout
from construct.problem import Construction
from construct.program.compile import Program
from construct.program.identity import check_sizes, recompiled, tensors
from construct.ridge import program as ridge_program
from construct.storage import shortened
from construct.transformer.weights import Weights
from construct.validation import invalid

PAIRS_AT_ONCE = 2**22
"""Heads times pairs of tokens up to which a program is compiled when it is loaded; above, when it is asked for."""

LOOSE = 1e-6  # of the box, which is rounded to float32 where the network is

BOX_MARGINS: dict[Construction, float] = {
    "ridge": ridge_program.BOX_MARGIN,
    "lattice": ridge_program.BOX_MARGIN,
    "compact": compact_geometry.BOX_MARGIN,
    "paper": paper_layout.BOX_MARGIN,
}
"""Of the inputs' box around that of the manifold."""

Made = TypeVar("Made")


@on_cpu
def load(
    path: str | PathLike[str],
    *,
    manifold: Manifold | None = None,
    dtype: torch.dtype | None = None,
    device: torch.device | str = "cpu",
) -> Network:
    """Read a network that `Network.save` wrote; weights are taken as they are in the file.

    Args:
        manifold: of a network on a user's own manifold that is not registered here
            (`construct.manifolds.register`). Where the file names one that is known, it has to be that.
        dtype: None keeps the file's; in another one the network makes no claim.

    Returns:
        The network. A claim is what the file says, and says so: a measured one was measured when the file was written,
        a rigorous one comes with the certificate, and reads "not verified here" (`python -m proofs_as_code verify`
        verifies one). A program is that of these weights, or raises InputError when it is asked for.

    Raises:
        InputError: no file, or none of this library and this format, or no manifold, dtype or device for it.
        PrecisionError: the dtype cannot hold the network.
    """
    if dtype is not None and not (isinstance(dtype, torch.dtype) and dtype in ON_MANIFOLD):
        raise invalid("dtype", "torch.float64 or torch.float32", dtype)
    if manifold is not None and not isinstance(manifold, Manifold):
        raise invalid("manifold", "a construct.manifolds.Manifold or None", manifold)
    place, saved = known_device(device), read_saved(path)
    try:
        space, elsewhere = _manifold(saved, manifold)
        program, weights = _program(saved)
        certificate = _certificate(saved)
    except InputError as error:
        raise invalid("path", f"a network of format {FORMAT}", got=f"{shortened(str(path))} ({error})") from error
    if manifold is not None:
        _check_given(manifold, saved, space)
        space, elsewhere = manifold, None
    origin = None if saved.origin is None else _origin(saved.origin, program, space, elsewhere, saved.digest)
    net = Network(weights, origin, claim=saved.claim, certificate=certificate, dtype=saved.dtype, device=place)
    return net if dtype is None else net.to(dtype)


def _origin(
    said: SavedOrigin,
    program: Program | StatedProgram | None,
    space: Manifold | None,
    elsewhere: Mapping[str, Any] | None,
    digest: str,
) -> Origin:
    return Origin(
        construction=cast("Construction", said.construction),
        source=program,
        sizes=said.sizes,
        coefficients=said.coefficients,
        nonzero_coefficients=said.nonzero_coefficients,
        manifold=space,
        history=said.history,
        elsewhere=elsewhere,
        weights="" if program is None else digest,
    )


# -- the program ------------------------------------------------------------------------------------------------------


def _program(saved: Saved) -> tuple[Program | StatedProgram | None, Weights]:
    """The program, and the weights, with the bounds that compiling found where the numbers are those of the file."""
    if saved.program is None:
        return None, saved.weights
    program = _parsed(saved.program)
    check_sizes(program, saved.weights)
    if _pairs(saved.weights) > PAIRS_AT_ONCE:
        return StatedProgram(program, lambda: recompiled(program, saved.weights, saved.dtype)), saved.weights
    compiled = recompiled(program, saved.weights, saved.dtype)
    return program, compiled if _same(compiled, saved.weights) else saved.weights


def _parsed(text: str) -> Program:
    """The program of a file, whose errors are about the field `program`."""
    return at_place("program", lambda: Program.from_json(text))


def _pairs(weights: Weights) -> int:
    return len(weights.hidden0) ** 2 * max((len(heads) for heads, _ in weights.blocks), default=0)


def _same(compiled: Weights, saved: Weights) -> bool:
    """Whether all numbers are the same, the signs of zeros, too (a digest is of those), so that the bounds of one are
    those of the other."""
    pairs = [(one, other) for (_, one), (_, other) in zip(tensors(compiled), tensors(saved), strict=True)]
    return all(np.array_equal(one, other) and (np.signbit(one) == np.signbit(other)).all() for one, other in pairs)


# -- the manifold -----------------------------------------------------------------------------------------------------


def _manifold(saved: Saved, given: Manifold | None) -> tuple[Manifold | None, dict[str, Any] | None]:
    """The manifold that the file names; or how it names one that is not known here."""
    named = None if saved.origin is None else saved.origin.manifold
    if named is None:
        return None, None
    if named["name"] not in manifolds.manifold_names():
        return None, named
    name = "origin.manifold"
    if not manifolds.is_registered(named["name"]):
        _check_dimensions(named, saved.weights.ambient, name)
    space = _built(lambda: manifolds.from_spec(named), name)
    _check_space(space, saved.weights, name)
    if saved.origin is not None:
        _check_box(space, saved.weights, saved.origin.construction)
    return space, None


def _check_dimensions(spec: Mapping[str, Any], ambient: int, name: str) -> None:
    """Before anything is built: no dimension is larger than the network's D."""
    for key, value in spec.items():
        if isinstance(value, dict):
            _check_dimensions(value, ambient, f"{name}.{key}")
        elif key in ("dim", "ambient") and isinstance(value, int) and value > ambient:
            raise invalid(f"{name}.{key}", f"at most {ambient}, the network's D", value)


def _built(make: Callable[[], Made], name: str) -> Made:
    """What `make` returns. It may be a user's factory, called with what stands in a file: whatever it raises is about
    the file."""
    try:
        return make()
    except Exception as error:
        got = f"arguments that it does not take ({type(error).__name__}: {error})"
        raise invalid(name, "a manifold that can be built here", got=got) from error


def _check_space(space: Manifold, weights: Weights, name: str) -> None:
    if space.ambient != weights.ambient:
        raise invalid(name, f"a manifold in R^{weights.ambient}, as the inputs", got=f"one in R^{space.ambient}")
    lower, upper = space.box.numpy()
    slack = LOOSE * float(np.abs(weights.box).max())
    if not ((weights.box[0] <= lower + slack).all() and (upper - slack <= weights.box[1]).all()):
        raise invalid(name, "a manifold in the network's box", got="one that is not in it")


def _check_box(space: Manifold, weights: Weights, construction: str) -> None:
    """The box of the inputs follows from the manifold, for either construction."""
    margin = BOX_MARGINS[cast("Construction", construction)]
    wanted = centred(space.box.numpy(), margin).ends
    if not (np.abs(wanted - weights.box) <= LOOSE * np.abs(wanted).max()).all():
        raise invalid("box", f"that of inputs around {space!r}", got=f"{weights.box.tolist()}")


def _check_given(given: Manifold, saved: Saved, named: Manifold | None) -> None:
    """The manifold given beside the file: of its D, in its box, and the one that the file names, if that is known."""
    _check_space(given, saved.weights, "manifold")
    if saved.origin is None:
        raise invalid("manifold", "None for a file that holds weights alone", given)
    if named is not None and manifolds.spec_of(given) != manifolds.spec_of(named):
        raise invalid("manifold", f"None or the one that the file names, {named!r}", given)
    said, spec = saved.origin.manifold, manifolds.spec_of(given)
    if said is not None and spec is not None and spec != said:
        raise invalid("manifold", f"None or the one that the file names, {said['name']!r}", given)


# -- the certificate --------------------------------------------------------------------------------------------------


def _certificate(saved: Saved) -> Certificate | None:
    """The certificate in the file, its digest checked; nothing is proved again."""
    if saved.certificate is None:
        return None
    document, unverifiable = saved.certificate, ANGLES if angles(saved.weights.hidden0) else None
    return _built(lambda: certificate_of(document, unverifiable), "certificate")
