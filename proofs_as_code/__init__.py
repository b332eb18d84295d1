"""The lemmas and theorems as statements that can be run, and a verifier of certificates.

`python -m proofs_as_code` checks every statement and its negative twins, one line each; `--json`, `--latex`, `--only
NAME`, `--seed N`, `--list`. `python -m proofs_as_code verify NETWORK CERTIFICATE` checks a proved error bound without
the library that made it: `verifier` is a package of its own, and nothing is imported here. See `framework` for what a
statement is, and for the three kinds of verdict (exact, rigorous, sampled).
"""
