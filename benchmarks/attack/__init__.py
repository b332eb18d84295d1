"""Random inputs to every public surface of the library, judged by oracles that do not trust it."""
