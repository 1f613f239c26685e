"""Boards: measured entries, one file each, and what the papers report, kept apart."""
