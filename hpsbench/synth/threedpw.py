"""A synthetic 3DPW in its raw layout: `sequenceFiles/<split>/<name>.pkl` and `imageFiles/<name>/image_%05d.jpg`.

The annotation files are Python-2 pickles with the keys, types and shapes of the real ones, the images JPEGs of
640 x 360. The known defects are placed on purpose (`threedpw_plan`): two people, leading, inner and trailing frames
without a detection, exactly six and seven visible limb joints, runs that the more-than-six rule removes, wrong
cameras, a track of five detected frames, one of none, and more than ten betas.
"""

import functools
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from hpsbench.synth.python2_pickle import dumps
from hpsbench.synth.threedpw_plan import SequencePlan, sequence_plans

DATASET = "3dpw"
Progress = Callable[[int, int, str], None]
_JPEG_QUALITY = 90


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
        workers: processes that render (spawned); 1: in this process. The bytes don't depend on it.
        progress: called with frames done, frames in all, and the sequence just finished.

    Returns:
        The sequences' plans; `threedpw_content.track_truth` has the ground truth.
    """
    plans = sequence_plans(size, seed)
    waiting = [sequence for sequence in plans if not _annotations(root, sequence).is_file()]
    total = sum(sequence.frames for sequence in plans)
    done = total - sum(sequence.frames for sequence in waiting)
    # The annotation file comes last, so that a sequence with one is whole. Long sequences first.
    waiting.sort(key=lambda sequence: -sequence.frames)
    for finished in _run(functools.partial(write_sequence, root, size=size, seed=seed), waiting, workers):
        done += finished.frames
        if progress:
            progress(done, total, finished.name)
    return plans


def write_sequence(root: Path, sequence_plan: SequencePlan, *, size: str, seed: int) -> SequencePlan:
    """Render and write one sequence: images that are there are kept, the annotation file is written last."""
    import simplejpeg

    from hpsbench.synth.render import render_frame
    from hpsbench.synth.threedpw_content import document, make_sequence

    sequence = make_sequence(sequence_plan, size, seed)
    folder = root / "imageFiles" / sequence_plan.name
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(sequence_plan.frames):
        path = folder / f"image_{index:05d}.jpg"
        if not path.is_file():
            picture = np.ascontiguousarray(render_frame(sequence.scene, index))
            _replace(path, simplejpeg.encode_jpeg(picture, quality=_JPEG_QUALITY, colorspace="RGB"))
    path = _annotations(root, sequence_plan)
    path.parent.mkdir(parents=True, exist_ok=True)
    _replace(path, dumps(document(sequence, size, seed)))
    return sequence_plan


def _annotations(root: Path, sequence: SequencePlan) -> Path:
    return root / "sequenceFiles" / sequence.split / f"{sequence.name}.pkl"


def _replace(path: Path, data: bytes) -> None:
    """Write under another name first, so that a file under its own name is whole."""
    waiting = path.with_name(path.name + ".part")
    waiting.write_bytes(data)
    waiting.replace(path)


def _run(
    job: Callable[[SequencePlan], SequencePlan], plans: list[SequencePlan], workers: int
) -> Iterator[SequencePlan]:
    if workers <= 1 or len(plans) <= 1:
        yield from map(job, plans)
        return
    with ProcessPoolExecutor(min(workers, len(plans)), mp_context=get_context("spawn")) as pool:
        futures = [pool.submit(job, sequence) for sequence in plans]
        try:
            yield from (future.result() for future in as_completed(futures))
        finally:
            pool.shutdown(cancel_futures=True)
