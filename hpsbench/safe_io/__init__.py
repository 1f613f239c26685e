"""Readers of foreign files that never run code: pickles, torch checkpoints, joblib, npz."""
