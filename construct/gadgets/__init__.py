"""Gadgets: heads and feed-forward networks whose weights are assigned, one lemma each."""

from construct.gadgets.weights import FeedForward, Heads

__all__ = ["FeedForward", "Heads"]
