"""Statements about the atlas: geometry, reach, covers, partitions and cut-offs."""
