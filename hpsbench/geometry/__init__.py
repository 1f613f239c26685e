"""Rotations, alignments, cameras and units: the only copies."""
