"""A synthetic 3DPW in its raw layout: `sequenceFiles/<split>/<name>.pkl` and `imageFiles/<name>/image_%05d.jpg`.

The annotation files are Python-2 pickles with the keys, types and shapes of the real ones, the images JPEGs of
640 x 360. The known defects are placed on purpose (`threedpw_plan`): two people, leading, inner and trailing frames
without a detection, exactly six and seven visible limb joints, runs that the more-than-six rule removes, wrong
cameras, a track of five detected frames, one of none, and more than ten betas.
"""

import functools
from pathlib import Path

from hpsbench.synth.output import Progress, write_items, write_jpeg, write_whole
from hpsbench.synth.python2_pickle import dumps
from hpsbench.synth.threedpw_plan import SequencePlan, sequence_plans

DATASET = "3dpw"


def plan(size: str) -> list[tuple[str, int]]:
    """(split, frames) of every sequence."""
    return [(sequence.store_split, sequence.frames) for sequence in sequence_plans(size)]


def write(
    root: Path, size: str = "tiny", seed: int = 0, workers: int = 1, progress: Progress | None = None
) -> list[SequencePlan]:
    """Write the dataset; sequences whose annotation file is there already are kept.

    Args:
        root: the raw dataset's folder.
        size: `tiny`, `small` or `full`.
        seed: of all people, motions, scenes and defects.
        workers: processes that render; 1: in this process. The bytes don't depend on it.
        progress: called with frames done, frames in all, and the sequence just finished.

    Returns:
        The sequences' plans; `threedpw_content.track_truth` has the ground truth.
    """
    plans = sequence_plans(size, seed)
    write_items(
        plans,
        functools.partial(write_sequence, root, size=size, seed=seed),
        is_done=lambda sequence: _annotations(root, sequence).is_file(),
        workers=workers,
        progress=progress,
    )
    return plans


def write_sequence(root: Path, sequence_plan: SequencePlan, *, size: str, seed: int) -> SequencePlan:
    """Render and write one sequence: images that are there are kept, the annotation file is written last."""
    from hpsbench.synth.render import render_frame
    from hpsbench.synth.threedpw_content import document, make_sequence

    sequence = make_sequence(sequence_plan, size, seed)
    folder = root / "imageFiles" / sequence_plan.name
    for index in range(sequence_plan.frames):
        path = folder / f"image_{index:05d}.jpg"
        if not path.is_file():
            write_jpeg(path, render_frame(sequence.scene, index))
    write_whole(_annotations(root, sequence_plan), dumps(document(sequence, size, seed)))
    return sequence_plan


def _annotations(root: Path, sequence: SequencePlan) -> Path:
    return root / "sequenceFiles" / sequence.split / f"{sequence.name}.pkl"
