"""Statements about the program's gadgets: codes, heads, feed-forward networks, products."""
