"""Views that keep every n-th frame of a whole dataset: no sequence knows how many frames came before it.

SPIN's converter of MPI-INF-3DHP counts the frames that it accepts through all sequences. So the sequences' parts keep them
all, and here, with all parts at hand and in the recipe's order, every n-th is left.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate

import numpy as np

from hpsbench.pipeline.parts import Part, PartBlock
from hpsbench.recipes.schema import Recipe
from hpsbench.recipes.view_rules import Thin
from hpsbench.recipes.views import THINNED
from hpsbench.types import BoolArray


def thin_through(parts: Sequence[Part], recipe: Recipe) -> Sequence[Part]:
    """The parts with the views thinned that count through the dataset (`thin.counted = "dataset"`).

    Args:
        parts: of all sequences, in the recipe's order.
        recipe: of the dataset.
    """
    rules = {
        name: rule.thin
        for name, rule in recipe.views.items()
        if rule.thin is not None and rule.thin.counted == "dataset"
    }
    if not rules:
        return parts
    before: Counter[str] = Counter()
    return [replace(part, blocks=[_thinned(block, rules, before) for block in part.blocks]) for part in parts]


def _thinned(block: PartBlock, rules: dict[str, Thin], before: Counter[str]) -> PartBlock:
    """`before` is view -> frames accepted in earlier blocks; it goes on counting."""
    instead, views = dict(block.instead), dict(block.views)
    arrays = block.arrays()
    for name, thin in rules.items():
        count = views[name]
        if thin.splits and count.split not in thin.splits:
            continue
        path = f"views/{name}/keep"
        accepted = np.asarray(arrays[path], dtype=bool)
        ordinal = before[name] + np.cumsum(accepted) - 1
        keep = accepted & (ordinal % thin.every == 0)
        kept, gone = int(np.count_nonzero(keep)), int(np.count_nonzero(accepted & ~keep))
        before[name] += kept + gone
        instead[path] = keep
        views[name] = count._replace(
            kept=kept,
            dropped={**count.dropped, **({THINNED: gone} if gone else {})},
            tracks=_tracks(block, keep),
        )
    return replace(block, instead=instead, views=views)


def _tracks(block: PartBlock, keep: BoolArray) -> int:
    """Tracks of a block of which a frame is kept."""
    ends = accumulate(int(clip["length"]) for clip in block.clips)
    return len(
        {
            clip["track"]
            for clip, end in zip(block.clips, ends, strict=True)
            if keep[end - int(clip["length"]) : end].any()
        }
    )
