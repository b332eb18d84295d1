"""Statements about the paper's construction."""
