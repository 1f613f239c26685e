"""The clip store, version 1: layout, writer, reader, windows, checks."""
