"""`python -m proofs_as_code`."""

from proofs_as_code.cli import main

if __name__ == "__main__":
    main()
