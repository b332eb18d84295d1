"""Statements about the rivals."""
