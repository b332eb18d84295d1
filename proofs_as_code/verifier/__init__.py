"""A small independent checker of error certificates; it imports numpy, python-flint and safetensors only."""
