"""Factors between the units of hpsbench (metres, radians, frames) and those that people print."""

import math

M_TO_MM = 1000.0
MM_TO_M = 0.001
RAD_TO_DEG = 180.0 / math.pi
DEG_TO_RAD = math.pi / 180.0


def per_frame2_to_si(fps: float) -> float:
    """Factor from mm/frame^2 to m/s^2 at `fps` frames per second (0.9 at 30 fps, 0.625 at 25)."""
    return MM_TO_M * fps * fps
