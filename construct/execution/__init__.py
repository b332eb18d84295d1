"""Executions: ways to evaluate the same weights, and the bounds that they rest on."""
