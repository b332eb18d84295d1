"""`python -m construct`."""

from construct.cli import main

if __name__ == "__main__":
    main()
