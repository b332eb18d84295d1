"""A small independent checker of error certificates; it imports numpy and python-flint only.

`python -m proofs_as_code.verifier NETWORK CERTIFICATE`, or `verify(network, certificate)`. In the order of the proof:
`documents` reads JSON, `expressions` formulas, `schema` the certificate, `weights` the tensors; `network` makes a
formula of them, in `polynomials`; `jets` encloses functions, `ridgecells` and `windowcells` bound those of networks
with ridge functions, `verification` has the rest; `statement` says what was proved, `covering` of which points.
"""

from proofs_as_code.verifier.verification import Report, verify

__all__ = ["Report", "verify"]
