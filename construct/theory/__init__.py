"""Statistics of the transformer class: covering number, sensitivity to the weights, generalization bound.

`covering`: the class, its parameter-Lipschitz constant, its covering number (HL24, Lemma 2). `sensitivity`: the same
for one network, from its weights. `theorem`: error and sizes of the paper construction as formulas (HL24, Theorem 2).
`regression`: least squares over the class (HL24, Theorem 1). `lattice`: cells and sizes of the lattice construction.
"""

from construct.theory.covering import StepConstants, class_log_lipschitz, log_covering_number, step_constants
from construct.theory.lattice import (
    LatticeGeometry,
    LatticeSizes,
    Singularity,
    adaptive_cells,
    adaptive_exponent,
    lattice_cells,
    lattice_sizes,
    uniform_exponent,
    uniform_spacing,
)
from construct.theory.regression import (
    GeneralizationBound,
    data_exponent,
    generalization_bound,
    model_exponent,
    oracle_bound,
)
from construct.theory.sensitivity import network_log_lipschitz
from construct.theory.theorem import (
    Geometry,
    PaperSizes,
    paper_block_heads,
    paper_blocks,
    paper_cells,
    paper_error,
    paper_sizes,
    taylor_constant,
)

__all__ = [
    "GeneralizationBound",
    "Geometry",
    "LatticeGeometry",
    "LatticeSizes",
    "PaperSizes",
    "Singularity",
    "StepConstants",
    "adaptive_cells",
    "adaptive_exponent",
    "class_log_lipschitz",
    "data_exponent",
    "generalization_bound",
    "lattice_cells",
    "lattice_sizes",
    "log_covering_number",
    "model_exponent",
    "network_log_lipschitz",
    "oracle_bound",
    "paper_block_heads",
    "paper_blocks",
    "paper_cells",
    "paper_error",
    "paper_sizes",
    "step_constants",
    "taylor_constant",
    "uniform_exponent",
    "uniform_spacing",
]
