"""From weights to formulas: the function of a network, with proof, as polynomials in charts and partition weights.

The network runs once, on symbols instead of numbers. A register is a polynomial with rational coefficients plus a bound
on how far the register of the computed network may be off. Heads multiply polynomials; a ReLU is resolved when the
range of its argument decides the sign, and becomes a quantity of its own when not. What comes out is

    T(x) = sum_n rho_n(x) P_n(z_n(x)),     rho_n = relu(1 - s_n) - relu(1 - s_n - w_n),     w_n = slope relu(b_n(x)),

with the polynomials P_n, the chart coordinates z_n (clipped to [-1, 1]) and the cut-offs b_n read from the weights, not
from whoever assigned them; or a sum of ridge functions, each times a window or not, which is anything in [0, 1] that
ReLUs make of affine functions; and an error that covers

- pairs of tokens on which a head was taken to be silent: proved with the ranges of all registers, exactly where a gate
  is exact;
- gates that are not exactly zero where they should be (trigonometric code);
- scores that are taken to be positive although they may be negative by a little (2^-20 of their size at most);
- with `unit` = u > 0, the rounding of every operation and of the input (running error analysis, standard model
  fl(a op b) = (a op b)(1 + e), |e| <= u, plus underflow). Sums are taken in any order, but for the rows of a score,
  which are added from the first to the last as the dense execution does; what a sparse execution multiplies out is not
  covered. Sums of numbers that are integer multiples of one power of two, with a total below 1/u of it, are exact in
  any order: so the integer code's gates are exact.

Imports go down this list: `execution` (the network block by block), `formula` (the result), `heads` and `feed_forward`
(one block), `recognition` (clips and partition weights), `state` (all registers), `screening` (which pairs of tokens
act), `relus`, `arithmetic` (registers and rounding), `codes`.
"""

from construct.certificates.extraction.execution import extract
from construct.certificates.extraction.formula import NetworkFormula, parted

__all__ = ["NetworkFormula", "extract", "parted"]
