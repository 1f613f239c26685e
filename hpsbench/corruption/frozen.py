"""A picture that stands still for a while and then goes on as if nothing had been: `dropped` in long bursts."""

from hpsbench.corruption._corruption import ROW_COLUMNS, Corruption, frequencies
from hpsbench.corruption._held import hold_last_seen

# Severity 1..5: (share of frames that are hit, frames for which the picture stands still).
STILL = ((0.33, 2), (0.33, 4), (0.33, 8), (0.33, 12), (0.33, 16))

CORRUPTION = Corruption(
    name="frozen", kind="rows", levels=frequencies(*STILL), columns=ROW_COLUMNS, draw=hold_last_seen
)
