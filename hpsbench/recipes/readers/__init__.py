"""One raw format per file."""
