"""Whole-track inference, one window per frame, against a loop over windows in batches of 8 as the released scripts run it.

Run: python benchmarks/bench_sliding.py [--systems tcmr mpsnet] [--frames 271] [--threads 1] [--repeats N] [--device cpu] [--json]

Full-size networks under seeded random weights, one synthetic track of rectified features. The loop stacks 8 windows of 16
frames and calls the network, 16 times over for every frame; only predictions are made (no body model, and none of the rows that
MPS-Net's released script regresses for its discriminator). The same weights, the same windows, the ways alternating, best times.
`floor` is the time of the multiplications that sharing leaves, at the rate of a large matrix product in the same rounds.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from hpsbench.models._adapter import FeatureSystem
from hpsbench.models._catalog import get_system
from hpsbench.store.windows import rule_windows, window_rows
from hpsbench.types import ClipInput

BATCH, WIDTH, GEMM = 8, 2048, 1024
TARGET, TOLERANCE = 3.5, 1e-5
FIELDS = ("rotmat", "betas", "camera")
NEEDED = {"tcmr": 0.438e9, "mpsnet": 0.019e9}
"""Multiply-adds of one window where frames are encoded once; those of a window on its own: 0.860e9 and 0.163e9."""


def make_system(name: str, device: str) -> FeatureSystem:
    """A full-size network with seeded weights, heads enlarged so that outputs differ from frame to frame."""
    torch.manual_seed(0)
    system: FeatureSystem = get_system(name)()
    with torch.no_grad():
        for head in (system.regressor.decpose, system.regressor.decshape, system.regressor.deccam):
            head.weight *= 30
    return system.to(device).eval()


def make_track(frames: int) -> ClipInput:
    """Features like those of a ResNet after ReLU and pooling, changing slowly."""
    rng = np.random.default_rng(0)
    steps = np.cumsum(rng.normal(size=(frames, WIDTH)) * 0.1, axis=0) + rng.normal(size=WIDTH)
    features = (0.45 * np.maximum(steps, 0)).astype(np.float32)
    return ClipInput(track="track", length=frames, frame_id=np.arange(frames), features=features)


@torch.no_grad()
def loop(system: FeatureSystem, clip: ClipInput, batch: int = BATCH) -> dict[str, np.ndarray]:
    """Window by window, `batch` at once; predictions in the order of the frames."""
    cut = rule_windows(clip.length, system.context)
    device = next(system.parameters()).device
    found: dict[str, list[np.ndarray]] = {name: [] for name in FIELDS}
    for first in range(0, len(cut), batch):
        seen = [
            window_rows(w, length=16, n=clip.length, outside="repeat") for w in cut[first : first + batch]
        ]
        output = system(torch.from_numpy(clip.features[np.stack(seen)]).to(device))
        for name in FIELDS:
            found[name].append(getattr(output, name)[:, 0].cpu().numpy())
    return {name: np.concatenate(parts) for name, parts in found.items()}


def measure(name: str, frames: int, repeats: int, device: str) -> dict[str, Any]:
    """Frames per second of both ways, their ratio, the ratio to the floor, and the largest difference of the outputs."""
    system, clip = make_system(name, device), make_track(frames)
    square = torch.randn(GEMM, GEMM, device=device)
    ways: dict[str, Callable[[], Any]] = {
        "loop": lambda: loop(system, clip),
        "predict": lambda: system.predict(clip),
        "gemm": lambda: (square @ square).sum().item(),
    }
    prediction, expected = system.predict(clip), loop(system, clip)
    off = max(float(np.abs(getattr(prediction, key) - expected[key]).max()) for key in FIELDS)
    moved = min(float(np.abs(np.diff(expected[key], axis=0)).max()) for key in FIELDS)
    best = dict.fromkeys(ways, float("inf"))
    for _ in range(repeats):
        for key, way in ways.items():
            start = time.perf_counter()
            way()
            best[key] = min(best[key], time.perf_counter() - start)
    floor = NEEDED[name] * frames * best["gemm"] / GEMM**3
    return {
        "system": name,
        "frames": frames,
        "loop frames/s": frames / best["loop"],
        "predict frames/s": frames / best["predict"],
        "ratio": best["loop"] / best["predict"],
        "of the floor": floor / best["predict"],
        "off by": off,
        "outputs move by": moved,
    }


def main() -> int:
    """Measure, print, and fail where a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--systems", nargs="+", default=list(NEEDED), choices=list(NEEDED))
    parser.add_argument("--frames", type=int, default=271)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    rows = [measure(name, given.frames, given.repeats, given.device) for name in given.systems]
    if given.json:
        sys.stdout.write(json.dumps({"threads": given.threads, "rows": rows}, indent=1) + "\n")
    missed = []
    for row in rows:
        if not given.json:
            sys.stdout.write(
                f"{row['system']}: {row['predict frames/s']:.0f} frames/s, {row['ratio']:.2f}x the loop ({row['loop frames/s']:.0f}), "
                f"{row['of the floor']:.2f} of the floor; off by {row['off by']:.1e}\n"
            )
        if row["ratio"] < TARGET:
            missed.append(f"{row['system']}: {row['ratio']:.2f}x the loop, wanted {TARGET}x")
        if row["off by"] > TOLERANCE or row["outputs move by"] < 100 * TOLERANCE:
            missed.append(
                f"{row['system']}: off by {row['off by']:.1e}, outputs move by {row['outputs move by']:.1e}"
            )
    sys.stderr.writelines(f"missed: {line}\n" for line in missed)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
