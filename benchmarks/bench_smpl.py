"""Speed of the SMPL forward against smplx, and against the multiplications that it cannot do without.

Run: python benchmarks/bench_smpl.py [--batches 64 256 1024] [--threads 1] [--repeats N] [--gradients] [--json]

A synthetic body of full size (6,890 vertices, 217 blend shapes, regressors of the synthetic world). All ways take the same poses,
run after each other in every round, and are compared by their best times, so that a busy machine slows all of them. `floor` is
the time of the needed floating-point operations at the rate of a large matrix product, measured in the same rounds.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from hpsbench.bodies.regressors import spin49_joints
from hpsbench.bodies.smpl import BodyModel, load_bodies
from hpsbench.synth.body import write_body_models

VERTICES, COMPONENTS, JOINTS = 6890, 217, 24
GEMM = 1024
TARGETS = {64: (2.0, None), 256: (3.0, 5.0), 1024: (4.5, None)}
"""Batch -> smallest ratio to smplx for vertices, and for SPIN's 49 joints."""


def smplx_spin49(layer: torch.nn.Module, extra: torch.Tensor, **given: torch.Tensor) -> torch.Tensor:
    """SPIN's 49 joints as its body model makes them: the whole mesh, then the extra joints of it."""
    output = layer(**given)
    joints = torch.einsum("bik,ji->bjk", [output.vertices, extra])
    return spin49_joints(torch.cat([output.joints, joints], dim=1))


def best_times(ways: dict[str, Callable[[], Any]], repeats: int) -> dict[str, float]:
    """Smallest time of each way, the ways alternating."""
    best = dict.fromkeys(ways, float("inf"))
    for number in range(repeats + 1):
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            if number:  # the first round warms up
                best[name] = min(best[name], time.perf_counter() - start)
    return best


def with_gradients(way: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]) -> Callable[..., torch.Tensor]:
    """The same, and the gradient of its sum of squares to pose and betas."""

    def both(pose: torch.Tensor, betas: torch.Tensor) -> torch.Tensor:
        free = [value.detach().requires_grad_() for value in (pose, betas)]
        points = way(*free)
        points.square().sum().backward()
        return points

    return both


def measure(body: BodyModel, batch: int, repeats: int, gradients: bool) -> dict[str, Any]:
    """Times of one batch size in seconds, ratios to smplx and to the floor, largest differences in metres."""
    generator = torch.Generator().manual_seed(0)
    pose = torch.randn(batch, 72, generator=generator) * 0.4
    betas = torch.randn(batch, 10, generator=generator)
    layer, extra = body.smplx_layer(), torch.tensor(body.regressor("extra9").matrix).float()

    def split(pose: torch.Tensor, betas: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"betas": betas, "global_orient": pose[:, :3], "body_pose": pose[:, 3:]}

    ways = {
        "smplx vertices": lambda p, b: layer(**split(p, b)).vertices,
        "vertices": body.vertices,
        "smplx spin49": lambda p, b: smplx_spin49(layer, extra, **split(p, b)),
        "spin49": body.spin49,
    }
    square = torch.randn(GEMM, GEMM)
    with torch.set_grad_enabled(gradients):
        off = {
            name: (ways[name](pose, betas) - ways[f"smplx {name}"](pose, betas)).abs().max().item()
            for name in ("vertices", "spin49")
        }
        if gradients:
            ways = {name: with_gradients(way) for name, way in ways.items()}
        runs: dict[str, Callable[[], Any]] = {
            name: lambda way=way: way(pose, betas) for name, way in ways.items()
        }
        best = best_times({**runs, "gemm": lambda: square @ square}, repeats)
    needed = batch * VERTICES * (2 * 3 * COMPONENTS + 2 * 12 * JOINTS + 18) * (3 if gradients else 1)
    floor = needed * best.pop("gemm") / (2 * GEMM**3)
    return {
        "batch": batch,
        "gradients": gradients,
        "seconds": best,
        "times smplx": {name: best[f"smplx {name}"] / best[name] for name in off},
        "of the floor": {
            "smplx vertices": floor / best["smplx vertices"],
            "vertices": floor / best["vertices"],
        },
        "off by metres": off,
    }


def main() -> int:
    """Measure, print, and fail where a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batches", type=int, nargs="+", default=[64, 256, 1024])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--gradients", action="store_true", help="measure forward and backward")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    with tempfile.TemporaryDirectory() as folder:
        write_body_models(Path(folder))
        body = load_bodies(Path(folder), synthetic=True).neutral
        rows = [measure(body, batch, given.repeats, given.gradients) for batch in given.batches]
    if given.json:
        sys.stdout.write(json.dumps({"threads": given.threads, "rows": rows}, indent=1) + "\n")
    missed = []
    for row in rows:
        ratio, floor, off = row["times smplx"], row["of the floor"], row["off by metres"]
        if not given.json:
            sys.stdout.write(
                f"batch {row['batch']:5d}: vertices {ratio['vertices']:.2f}x smplx ({floor['vertices']:.2f} of the floor, smplx "
                f"{floor['smplx vertices']:.2f}), spin49 {ratio['spin49']:.2f}x; off by {max(off.values()):.1e} m\n"
            )
        for name, wanted in zip(("vertices", "spin49"), TARGETS.get(row["batch"], (None, None)), strict=True):
            if wanted and not given.gradients and ratio[name] < wanted:
                missed.append(f"batch {row['batch']}: {name} {ratio[name]:.2f}x, wanted {wanted}x")
        if max(off.values()) > 1e-6:
            missed.append(f"batch {row['batch']}: off by {max(off.values()):.1e} m")
    sys.stderr.writelines(f"missed: {line}\n" for line in missed)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
