"""`python -m proofs_as_code`: the statements, or with `verify` as the first argument the verifier."""

import sys

if __name__ == "__main__":
    if sys.argv[1:2] == ["verify"]:  # first of all: the verifier runs where neither the library nor torch is installed
        from proofs_as_code.verifier.__main__ import run as verify

        sys.exit(verify(sys.argv[2:]))

    from proofs_as_code.cli import main

    main()
