"""Studies: each is `python -m benchmarks.<name> [--quick] [--out DIR]` and writes a CSV, a Markdown table and a plot."""
