"""The formula as an ONNX graph."""

from __future__ import annotations

import importlib.util
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike

import torch

from construct.storage import writable_place, write_atomically
from construct.transformer.module import Transformer
from construct.validation import invalid

PACKAGES = ("onnx", "onnxscript")
EXAMPLE_POINTS = 2
OPSET = 18
EXPORTER_LOG = "torch.onnx._internal.exporter"


def write_onnx(net: Transformer, path: str | PathLike[str]) -> None:
    """Write `x (points, D) -> y (points,)` with a free number of points, in the dtype of the parameters.

    Raises:
        InputError: the packages of the `onnx` extra are not installed.
    """
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        needed = "the packages of the onnx extra (pip install 'construct-transformer[onnx]')"
        raise invalid("export_onnx", needed, got=f"no {' and no '.join(missing)}")
    writable_place(path)  # before the work
    example = torch.zeros(EXAMPLE_POINTS, net.ambient, dtype=net.dtype, device=net.device)
    with _quiet():
        program = torch.onnx.export(
            net,
            (example,),
            dynamo=True,
            opset_version=OPSET,
            input_names=["x"],
            output_names=["y"],
            dynamic_shapes=({0: torch.export.Dim("points")},),
            verbose=False,
        )
    assert program is not None
    write_atomically(path, program.model_proto.SerializeToString())


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what the exporter says of its own code: deprecations in torch, packages that it could have used."""
    log = logging.getLogger(EXPORTER_LOG)
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", category=FutureWarning)
            warnings.filterwarnings("ignore", category=DeprecationWarning)
            yield
    finally:
        log.setLevel(level)
