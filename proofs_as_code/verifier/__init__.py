"""A small independent checker of error certificates; it imports numpy, python-flint and safetensors only.

`python -m proofs_as_code.verifier NETWORK CERTIFICATE`, or `verify(network, certificate)`. In the order of the proof:
`weights` reads the tensors, `network` makes a formula of them, `jets` encloses functions, `verification` has the rest.
"""

from proofs_as_code.verifier.verification import Report, verify

__all__ = ["Report", "verify"]
