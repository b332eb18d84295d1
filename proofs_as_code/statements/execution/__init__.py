"""Statements about the executions."""
