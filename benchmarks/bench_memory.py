"""Peak memory of `prepare` and `import` on a synthetic InstaVariety of more than 200,000 frames.

Run: python benchmarks/bench_memory.py [--frames N] [--json]

TFRecord shards are prepared, and VIBE's `insta_train_db.h5` with its features (1.6 GB at 200,000 frames) is prepared and
imported, each in a process of its own, at a quarter of the frames and at all of them. The peak is the process's own
resident memory, libraries and mapped files included, which is more than what is private to it. Limit: 2 GiB; and what
four times the frames add shows what a file of 18 GB (2.1 million frames) would take.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = "1"

import h5py
import numpy as np

from hpsbench.synth.output import write_whole
from hpsbench.synth.tfrecords import example, record
from hpsbench.synth.world import mark

LIMIT_MIB, REAL_FRAMES = 2048, 2_100_000
TRACK, TRACKS = 150, 50
JOB = """
import resource, sys, time
from hpsbench.pipeline.import_ import import_file
from hpsbench.pipeline.prepare import prepare

what, root = sys.argv[1:]
start = time.perf_counter()
if what == "import":
    import_file(f"{root}/raw/instavariety/insta_train_db.h5", "instavariety", root, synthetic=True)
else:
    prepare("instavariety", root)
seconds = time.perf_counter() - start
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, seconds)
"""


def write_shards(raw: Path, frames: int) -> None:
    """Shards of 50 tracks of 150 frames, in pixels; one record is made and written with other coordinates each time."""
    rng = np.random.default_rng(0)
    ones = np.ones((TRACK, 14), np.int64)
    for number in range(-(-frames // (TRACK * TRACKS))):
        parts = []
        for _ in range(TRACKS):
            points = rng.uniform(0, 224, (TRACK, 3, 25)).astype(np.float32)
            features = {
                "meta/N": np.array([TRACK]), "image/heightwidths": np.full((TRACK, 2), 224),
                "image/xys": np.ascontiguousarray(points[:, :2, :14]), "image/visibilities": ones,
                "image/face_pts": np.ascontiguousarray(points[:, :, 14:19]),
                "image/toe_pts": np.ascontiguousarray(points[:, :, 19:]),
            }  # fmt: skip
            parts.append(record(example(features)))
        path = raw / "insta_variety" / "train" / f"insta_variety_{number:03d}.tfrecord"
        write_whole(path, b"".join(parts))


def write_collection(raw: Path, frames: int) -> None:
    """VIBE's file, features and all."""
    rng = np.random.default_rng(0)
    tracks = -(-frames // TRACK)
    rows = tracks * TRACK
    block = rng.normal(size=(1000, 2048)).astype(np.float32)
    with h5py.File(raw / "insta_train_db.h5", "w") as file:
        file["vid_name"] = np.repeat(
            [f"/a/insta_{i // 50:02d}.tfrecord-{i % 50}".encode() for i in range(tracks)], TRACK
        )
        file["frame_id"] = np.tile(np.arange(TRACK), tracks)
        joints = file.create_dataset("joints2D", (rows, 25, 3), "f4")
        features = file.create_dataset("features", (rows, 2048), "f4")
        for first in range(0, rows, 1000):
            part = slice(first, min(first + 1000, rows))
            joints[part] = rng.uniform(0, 224, (part.stop - first, 25, 3)).astype(np.float32)
            features[part] = block[: part.stop - first]


def measure(what: str, layout: str, frames: int) -> dict[str, Any]:
    """Peak MiB and seconds of one job on data of its own."""
    with tempfile.TemporaryDirectory() as name:
        raw = Path(name) / "raw" / "instavariety"
        mark(raw, "instavariety", "tiny", 0)
        (write_shards if layout == "tfrecord" else write_collection)(raw, frames)
        size = sum(path.stat().st_size for path in raw.rglob("*") if path.is_file())
        done = subprocess.run(
            [sys.executable, "-c", JOB, what, name], capture_output=True, text=True, check=True
        )
    peak, seconds = (float(word) for word in done.stdout.split())
    return {
        "what": what,
        "layout": layout,
        "frames": frames,
        "raw_mb": size / 1e6,
        "peak_mib": peak,
        "seconds": seconds,
    }


def main() -> int:
    """Measure and print; 1 if the limit is passed, or would be by a file of the real size."""
    parser = argparse.ArgumentParser(description="Peak memory of prepare and import.")
    parser.add_argument("--frames", type=int, default=210_000)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    rows, missed = [], False
    for what, layout in (("prepare", "tfrecord"), ("prepare", "collection"), ("import", "collection")):
        quarter, whole = (measure(what, layout, options.frames // part) for part in (4, 1))
        slope = (whole["peak_mib"] - quarter["peak_mib"]) / (whole["frames"] - quarter["frames"])
        real = whole["peak_mib"] + max(0.0, slope) * (REAL_FRAMES - whole["frames"])
        missed |= max(whole["peak_mib"], real) > LIMIT_MIB
        rows.append(
            {
                **whole,
                "quarter_peak_mib": quarter["peak_mib"],
                "at_2.1_million_mib": real,
                "limit_mib": LIMIT_MIB,
            }
        )
    if options.json:
        sys.stdout.write(json.dumps(rows, indent=1) + "\n")
        return int(missed)
    for row in rows:
        sys.stdout.write(
            f"{row['what']:8s} {row['layout']:10s} {row['frames']:,} frames, {row['raw_mb']:,.0f} MB raw: peak "
            f"{row['peak_mib']:.0f} MiB ({row['quarter_peak_mib']:.0f} at a quarter; about {row['at_2.1_million_mib']:.0f} "
            f"at 2.1 million; limit {row['limit_mib']}), {row['seconds']:.0f} s\n"
        )
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
