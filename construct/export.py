"""The formula as an ONNX graph."""

from __future__ import annotations

import importlib.util
from os import PathLike

import torch

from construct.transformer.module import Transformer
from construct.validation import invalid

EXAMPLE_POINTS = 2
OPSET = 18


def write_onnx(net: Transformer, path: str | PathLike[str]) -> None:
    """Write `x (points, D) -> y (points,)` with a free number of points, in the dtype of the parameters.

    Raises:
        InputError: the packages of the `onnx` extra are not installed.
    """
    missing = [name for name in ("onnx", "onnxscript") if importlib.util.find_spec(name) is None]
    if missing:
        needed = "the packages of the onnx extra (pip install 'construct-transformer[onnx]')"
        raise invalid("export_onnx", needed, got=f"no {' and no '.join(missing)}")
    example = torch.zeros(EXAMPLE_POINTS, net.ambient, dtype=net.dtype, device=net.device)
    program = torch.onnx.export(
        net.eval(),
        (example,),
        dynamo=True,
        opset_version=OPSET,
        input_names=["x"],
        output_names=["y"],
        dynamic_shapes=({0: torch.export.Dim("points")},),
        verbose=False,
    )
    assert program is not None
    program.save(str(path))
