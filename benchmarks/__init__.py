"""Studies: `python -m benchmarks.<name> [--quick] [--out DIR]` writes a CSV, a Markdown table and a plot."""
