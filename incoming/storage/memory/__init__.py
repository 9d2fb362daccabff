"""Stores in memory: the second implementation of each Protocol. What they keep ends with the process."""
