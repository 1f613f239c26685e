"""Memory of training against the size of the stores it reads, and how long its steps wait for data.

Run: python benchmarks/bench_training_memory.py [--frames N] [--steps N] [--json]

A synthetic InstaVariety of 210,000 frames (1.7 GB of random features of published width) and one of a quarter of them are
prepared; each trains VIBE's generator for some steps, together with the synthetic 3DPW of size tiny, in a process of its own.
Measured are the process's largest private memory (`RssAnon` of Linux: mapped files do not count), and the share of the time
that steps waited for their batches. Memory should not grow with the data: four times the frames may add at most 64 bytes a frame (a
few numbers), where the features alone are 8 KiB. Limit of the wait: 5 %.
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

from hpsbench.pipeline.extract import extract
from hpsbench.pipeline.prepare import prepare
from hpsbench.store.feature_sets import FeatureSetWriter
from hpsbench.store.reader import open_store
from hpsbench.synth.world import mark, synthesize_raw

BYTES_A_FRAME, WAIT_LIMIT = 64, 0.05
TRACK, VIEW, SET = 150, "vibe", "embedded-vibe"
JOB = """
import json, sys, threading, time
from pathlib import Path
from hpsbench.training.loop import train

peak, going = 0, True

def private():
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("RssAnon")) / 1024

def watch():
    global peak
    while going:
        peak = max(peak, private())
        time.sleep(0.01)

watcher = threading.Thread(target=watch)
watcher.start()
sources = 'sources=[{dataset="instavariety", group="2d", stride=1}, {dataset="3dpw"}]'
steps = int(sys.argv[2])
sets = (sources, "data.only_prepared=false", "schedule.epochs=1", f"schedule.iterations_per_epoch={steps}")
run = train("vibe-generator-mix", Path(sys.argv[1]), sets=sets, device="cpu")
going = False
watcher.join()
line = run.history[-1]
print(json.dumps({"peak_mib": peak, "data_wait": line["data_wait"], "seconds": line["seconds"]}))
"""


def make_root(root: Path, frames: int) -> int:
    """Both stores with features, under one root; the InstaVariety's features are random. Returns its frames."""
    synthesize_raw("3dpw", root, size="tiny")
    prepare("3dpw", root)
    extract(root / "stores" / "3dpw.zarr", root, view=VIEW)
    raw = root / "raw" / "instavariety"
    mark(raw, "instavariety", "tiny", 0)
    tracks = -(-frames // TRACK)
    rng = np.random.default_rng(0)
    with h5py.File(raw / "insta_train_db.h5", "w") as file:
        names = [f"/a/insta_{i // 50:02d}.tfrecord-{i % 50}".encode() for i in range(tracks)]
        file["vid_name"] = np.repeat(names, TRACK)
        file["frame_id"] = np.tile(np.arange(TRACK), tracks)
        joints = file.create_dataset("joints2D", (tracks * TRACK, 25, 3), "f4")
        for first in range(0, tracks * TRACK, TRACK):
            joints[first : first + TRACK] = rng.uniform(0, 224, (TRACK, 25, 3))
    prepare("instavariety", root)
    path = root / "stores" / "instavariety.zarr"
    known = open_store(root / "stores" / "3dpw.zarr").features[SET].attrs
    wanted = ("extractor", "weights_sha256", "view", "crop_scale", "corruption")
    attrs = {key: known[key] for key in wanted}
    rows = np.flatnonzero(open_store(path).views[VIEW].keep)
    writer = FeatureSetWriter.create(path, SET, rows=rows, dim=2048, attrs=attrs)
    for chunk in writer.open_chunks():
        writer.write(chunk, rng.random((len(writer.rows_of(chunk)), 2048), np.float32))
    writer.finish()
    return len(rows)


def measure(frames: int, steps: int) -> dict[str, Any]:
    """Private memory and wait of one training on data of its own."""
    with tempfile.TemporaryDirectory() as name:
        found = make_root(Path(name), frames)
        done = subprocess.run(
            [sys.executable, "-c", JOB, name, str(steps)], capture_output=True, text=True, check=True
        )
    return {"frames": found, "steps": steps, **json.loads(done.stdout)}


def main() -> int:
    """Measure and print; 1 if memory grows with the data, or steps wait for it."""
    parser = argparse.ArgumentParser(description="Memory of training against the size of its data.")
    parser.add_argument("--frames", type=int, default=210_000)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    quarter, whole = (measure(options.frames // part, options.steps) for part in (4, 1))
    grown = (whole["peak_mib"] - quarter["peak_mib"]) * 2**20 / (whole["frames"] - quarter["frames"])
    missed = grown > BYTES_A_FRAME or whole["data_wait"] > WAIT_LIMIT
    if options.json:
        rows = {"quarter": quarter, "whole": whole, "bytes_a_frame": grown}
        sys.stdout.write(json.dumps(rows, indent=1) + "\n")
        return int(missed)
    for row in (quarter, whole):
        sys.stdout.write(
            f"{row['frames']:,} frames: {row['peak_mib']:.0f} MiB private at most, {row['steps']} steps in "
            f"{row['seconds']:.1f} s, {100 * row['data_wait']:.2f} % of it waiting for data (limit {100 * WAIT_LIMIT:.0f} %)\n"
        )
    sys.stdout.write(
        f"a further frame adds {grown:.1f} bytes (limit {BYTES_A_FRAME}; its features are 8,192)\n"
    )
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
