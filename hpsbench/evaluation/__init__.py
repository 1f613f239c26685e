"""Predict and score: run, score, statistics."""
