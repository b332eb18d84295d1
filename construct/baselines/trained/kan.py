"""Kolmogorov-Arnold networks by their authors' package `pykan` (Liu et al. 2024, arXiv 2404.19756), which is optional.

A KAN layer is y_i = sum_j phi_ij(x_j), phi a SiLU plus a cubic B-spline on a grid of G intervals, both with a learned
factor. `KAN` here is a stack of pykan's layers; pykan's own network class adds a symbolic branch, of no use for
approximation, seeds the global generators and writes files.
"""

from __future__ import annotations

import importlib
import warnings
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from construct.baselines.trained.models import Model
from construct.validation import invalid, positive_integer

ORDER = 3
PREPARED = 1000  # points that grids are fitted to; pykan solves a least-squares problem over them for every edge
INSTALL = "pip install --no-deps pykan==0.2.8 && pip install matplotlib pandas pyyaml scikit-learn sympy tqdm"


def layer_class() -> Any:
    """`kan.KANLayer.KANLayer` of pykan. Raises `InputError` with the command that installs it where it is missing."""
    try:
        with warnings.catch_warnings():  # its sources hold escapes that the compiler warns of
            warnings.simplefilter("ignore", SyntaxWarning)
            warnings.simplefilter("ignore", DeprecationWarning)
            return importlib.import_module("kan.KANLayer").KANLayer
    except ImportError as error:
        raise invalid("method", f"the package pykan for kan (`{INSTALL}`)", got=str(error)) from error


class KAN(Model):
    """A stack of `hidden` + 1 KAN layers: D -> width -> ... -> 1, splines of order 3 on `grid` intervals."""

    def __init__(self, ambient: int, hidden: int, width: int, grid: int, *, generator: torch.Generator) -> None:
        super().__init__()
        sizes = [positive_integer(ambient, "ambient")]
        sizes += [*[positive_integer(width, "width")] * positive_integer(hidden, "depth"), 1]
        self.sizes, self.grid = sizes, positive_integer(grid, "grid")
        layer = layer_class()
        draw = int(torch.randint(2**31, (1,), generator=generator))
        with torch.random.fork_rng(devices=[]):  # pykan draws from the global generator
            torch.manual_seed(draw)
            made = [layer(m, n, num=grid, k=ORDER) for m, n in pairwise(sizes)]
        self.layers = nn.ModuleList(made).to(torch.float64)
        self.depth = len(self.layers)

    @property
    def multiply_adds(self) -> int:
        """Per edge: the spline's `grid + ORDER` coefficients and two factors (all basis functions are evaluated)."""
        edges = sum(m * n for m, n in pairwise(self.sizes))
        basis = sum(self.sizes[:-1]) * sum(2 * (self.grid + 2 * ORDER - k) for k in range(1, ORDER + 1))
        return edges * (self.grid + ORDER + 2) + basis

    def prepare(self, x: Tensor) -> None:
        """Stretch every grid to the range of the values that reach it, as pykan does before training."""
        x = x[:PREPARED]
        with torch.no_grad():
            for layer in list[Any](self.layers):
                layer.update_grid_from_samples(x)
                x = layer(x)[0]

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)[0]
        return x[:, 0]
