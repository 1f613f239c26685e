"""Lost frames, scattered over the track: in place of each the last frame that arrived is shown.

The person's pose is that of the true time, the picture is an old one.
"""

from hpsbench.corruption._corruption import ROW_COLUMNS, Corruption, frequencies
from hpsbench.corruption._held import hold_last_seen

# Severity 1..5: (share of frames lost, consecutive frames of a loss).
LOST = ((0.05, 1), (0.1, 1), (0.2, 1), (0.35, 2), (0.5, 3))

CORRUPTION = Corruption(
    name="dropped", kind="rows", levels=frequencies(*LOST), columns=ROW_COLUMNS, draw=hold_last_seen
)
