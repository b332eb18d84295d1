"""Place of the machine-checked statements of the construction; empty in this release.

The checks of the lemmas live in the test suite for now. Statements that can be imported and run on their own,
each returning a verdict of its kind (exact, rigorous or sampled), come in a later release.
"""
