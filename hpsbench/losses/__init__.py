"""Training losses, one family per file."""
