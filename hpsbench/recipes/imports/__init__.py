"""Processed files that circulate, read as rows of a clip store: `hpsbench import`."""
