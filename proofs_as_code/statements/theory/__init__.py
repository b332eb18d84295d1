"""Statements about the covering number and the generalization bound."""
