"""Corruptions, one per file: a pure function and its table."""
