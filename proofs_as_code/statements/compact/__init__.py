"""Statements about the compact construction."""
