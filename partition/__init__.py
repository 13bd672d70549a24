"""Splits of a chain into local modules: pure integers, no torch."""

from partition.split import Split, SplitError, equal_split, parse_split

__all__ = ["Split", "SplitError", "equal_split", "parse_split"]
