"""Evaluation protocols: schema and catalogue."""
