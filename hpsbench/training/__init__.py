"""Train a system from a recipe."""
