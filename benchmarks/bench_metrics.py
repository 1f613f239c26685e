"""Speed of the metric stage against the ways in which the field's scripts compute it.

Run: python benchmarks/bench_metrics.py [--repeats N] [--clock wall|cpu] [--json]

Same inputs for all, one thread and two, the candidates alternating; ratios are those of the best times. The baselines are
written here, in the released scripts' way of computing: a per-frame Procrustes loop (SPIN), a batched torch SVD with
a Python list of traces (VIBE, TCMR), PVE with three full-size temporaries.
"""

import argparse
import json
import os
import sys
import time
import tracemalloc
from collections.abc import Callable
from typing import Any

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = "1"

import numpy as np
import torch

import hpsbench as hb
from hpsbench import metrics
from hpsbench.evaluation.frames import plan_frames
from hpsbench.evaluation.one_pass import run_pass
from hpsbench.evaluation.statistics import bootstrap_interval
from hpsbench.evaluation.values import Side

TRACKS, FRAMES, JOINTS, VERTICES = 37, 35515, 14, 6890
MIB = 1 << 20


def make_tracks(rng: np.random.Generator) -> list[tuple[np.ndarray, np.ndarray]]:
    """37 tracks of body-like joints, 35,515 frames in all: (pred, target) each (T, 14, 3) float32 metres."""
    cuts = np.sort(rng.choice(np.arange(200, FRAMES - 200, 50), TRACKS - 1, replace=False))
    tracks = []
    for length in np.diff(np.concatenate([[0], cuts, [FRAMES]])):
        target = rng.normal(size=(JOINTS, 3)) * [0.25, 0.5, 0.15] + 0.05 * rng.normal(
            size=(length, JOINTS, 3)
        )
        pred = 1.1 * target[..., [0, 2, 1]] * [1, -1, 1] + 0.05 * rng.normal(size=target.shape)
        tracks.append((pred.astype(np.float32), target.astype(np.float32)))
    return tracks


def align_one_frame(pred: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Procrustes of one frame (J, 3), by SVD."""
    p_mean, t_mean = pred.mean(axis=0), target.mean(axis=0)
    p, t = pred - p_mean, target - t_mean
    u, _, vh = np.linalg.svd(p.T @ t)
    flip = np.eye(3)
    flip[2, 2] = np.sign(np.linalg.det(u @ vh))
    rotation = vh.T @ flip @ u.T
    scale = np.trace(rotation @ (p.T @ t)) / np.sum(p**2)
    return scale * pred @ rotation.T + (t_mean - scale * rotation @ p_mean)


def stage_loop(tracks: list[tuple[np.ndarray, np.ndarray]]) -> dict[str, float]:
    """MPJPE, PA-MPJPE and acceleration error, one frame of Procrustes at a time."""
    sums = {"mpjpe": 0.0, "pa_mpjpe": 0.0, "accel_err": 0.0}
    for pred, target in tracks:
        p = pred - pred[:, [2, 3]].mean(axis=1, keepdims=True)
        t = target - target[:, [2, 3]].mean(axis=1, keepdims=True)
        sums["mpjpe"] += float(np.sqrt(((p - t) ** 2).sum(axis=-1)).mean(axis=-1).sum())
        for one, other in zip(p, t, strict=True):
            sums["pa_mpjpe"] += float(
                np.sqrt(((align_one_frame(one, other) - other) ** 2).sum(axis=-1)).mean()
            )
        accel = (p[:-2] - 2 * p[1:-1] + p[2:]) - (t[:-2] - 2 * t[1:-1] + t[2:])
        sums["accel_err"] += float(np.linalg.norm(accel, axis=2).mean(axis=1).sum())
    return {key: 1000 * value for key, value in sums.items()}


def align_batch(pred: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Procrustes of (T, J, 3) with one batched SVD and a list of traces."""
    p, t = pred.permute(0, 2, 1), target.permute(0, 2, 1)
    p_mean, t_mean = p.mean(dim=-1, keepdim=True), t.mean(dim=-1, keepdim=True)
    p0, t0 = p - p_mean, t - t_mean
    covariance = p0.bmm(t0.permute(0, 2, 1))
    u, _, vh = torch.linalg.svd(covariance)
    v = vh.permute(0, 2, 1)
    flip = torch.eye(3).unsqueeze(0).repeat(u.shape[0], 1, 1)
    flip[:, -1, -1] *= torch.sign(torch.linalg.det(u.bmm(v.permute(0, 2, 1))))
    rotation = v.bmm(flip.bmm(u.permute(0, 2, 1)))
    traces = torch.cat([torch.trace(x).unsqueeze(0) for x in rotation.bmm(covariance)])
    scale = (traces / torch.sum(p0**2, dim=1).sum(dim=1)).unsqueeze(-1).unsqueeze(-1)
    return (scale * rotation.bmm(p) + (t_mean - scale * rotation.bmm(p_mean))).permute(0, 2, 1)


def stage_batched(tracks: list[tuple[np.ndarray, np.ndarray]]) -> dict[str, float]:
    """MPJPE, PA-MPJPE and acceleration error with batched torch."""
    sums = {"mpjpe": 0.0, "pa_mpjpe": 0.0, "accel_err": 0.0}
    for pred, target in tracks:
        p, t = torch.from_numpy(pred), torch.from_numpy(target)
        p = p - (p[:, [2]] + p[:, [3]]) / 2
        t = t - (t[:, [2]] + t[:, [3]]) / 2
        sums["mpjpe"] += float(torch.sqrt(((p - t) ** 2).sum(dim=-1)).mean(dim=-1).sum())
        sums["pa_mpjpe"] += float(torch.sqrt(((align_batch(p, t) - t) ** 2).sum(dim=-1)).mean(dim=-1).sum())
        accel = (p[:-2] - 2 * p[1:-1] + p[2:]) - (t[:-2] - 2 * t[1:-1] + t[2:])
        sums["accel_err"] += float(torch.norm(accel, dim=2).mean(dim=1).sum())
    return {key: 1000 * value for key, value in sums.items()}


def stage_single(tracks: list[tuple[np.ndarray, np.ndarray]]) -> dict[str, float]:
    """The same three numbers by one function of `hpsbench.metrics` each; only acceleration goes track by track."""
    pred, target = (np.concatenate(side) for side in zip(*tracks, strict=True))
    return {
        "mpjpe": float(metrics.mpjpe(pred, target, root=(2, 3)).sum()),
        "pa_mpjpe": float(metrics.pa_mpjpe(pred, target).sum()),
        "accel_err": sum(float(metrics.accel_err(one, other, root=(2, 3)).sum()) for one, other in tracks),
    }


def stage_ours(tracks: list[tuple[np.ndarray, np.ndarray]]) -> dict[str, float]:
    """The same three numbers in one pass."""
    pred, target = (np.concatenate(side) for side in zip(*tracks, strict=True))
    found = metrics.standard_errors(pred, target, root=(2, 3))
    track = np.repeat(np.arange(len(tracks)), [len(one) for one, _ in tracks])
    inside = track[2:] == track[:-2]
    return {
        "mpjpe": float(found.mpjpe.sum()),
        "pa_mpjpe": float(found.pa_mpjpe.sum()),
        "accel_err": float(found.accel_err[inside].sum()),
    }


def make_stage(tracks: list[tuple[np.ndarray, np.ndarray]]) -> Callable[[Any], dict[str, float]]:
    """The metric stage that `score` and `evaluate` run, for the same three numbers.

    Frames and chains are made before. It also makes the errors of each joint, which the table of frames keeps.
    """
    pred, target = (np.concatenate(side) for side in zip(*tracks, strict=True))
    track = np.repeat([f"s{i:02d}_0" for i in range(len(tracks))], [len(one) for one, _ in tracks])
    everything = np.ones(len(track), bool)
    rule = hb.get_protocol("tcmr").rule("3dpw")
    plan = plan_frames(rule, track, seen=everything, scored=everything)
    wanted = [metric for metric in rule.metrics if metric.name in ("mpjpe", "pa_mpjpe", "accel_err")]

    def stage(_: Any) -> dict[str, float]:
        sides = [
            Side(joints=side, root=side[:, [2, 3]].mean(axis=1, dtype=np.float64)) for side in (pred, target)
        ]
        shared = run_pass(rule, wanted, plan, *sides)
        found = {metric.name: shared.values(metric) for metric in wanted}
        return {name: float(np.nansum(values.value)) for name, values in found.items() if values is not None}

    return stage


def pve_three_temporaries(pred: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Vertex error per frame in metres; difference, square and sum as whole arrays."""
    return np.mean(np.sqrt(np.sum((target - pred) ** 2, axis=2)), axis=1)


def exact_vertex_error(pred: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The same in float64, frame by frame."""
    pairs = zip(pred, target, strict=True)
    return np.array([np.linalg.norm(p.astype(float) - t, axis=-1).mean() for p, t in pairs])


CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
clock = CLOCKS["wall"]


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    start = clock()
    value = work()
    return clock() - start, value


def alternate(
    works: dict[str, Callable[[], Any]], repeats: dict[str, int]
) -> tuple[dict[str, float], dict[str, Any]]:
    """Best time and value of each, run in turn so that a busy moment hits all alike."""
    best: dict[str, float] = {}
    values: dict[str, Any] = {}
    for turn in range(max(repeats.values())):
        for name, work in works.items():
            if turn < repeats[name]:
                seconds, values[name] = timed(work)
                best[name] = min(seconds, best.get(name, seconds))
    return best, values


def peak_memory(work: Callable[[], Any]) -> float:
    """Largest extra memory of NumPy during a call, MiB."""
    tracemalloc.start()
    work()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak / MIB


def largest_difference(tracks: list[tuple[np.ndarray, np.ndarray]]) -> float:
    """Largest difference in metres between `pa_mpjpe` and the float64 loop, over all frames."""
    worst = 0.0
    for pred, target in tracks:
        ours = metrics.pa_mpjpe(pred, target) / 1000
        for one, other, value in zip(pred.astype(float), target.astype(float), ours, strict=True):
            exact = np.linalg.norm(align_one_frame(one, other) - other, axis=-1).mean()
            worst = max(worst, abs(exact - value))
    return worst


def bench_joints(repeats: int) -> dict[str, float]:
    tracks = make_tracks(np.random.default_rng(0))
    scoring = make_stage(tracks)
    works: dict[str, Callable[[Any], dict[str, float]]] = {
        "loop": stage_loop,
        "batched": stage_batched,
        "single": stage_single,
        "ours": stage_ours,
        "scoring": scoring,
        "batched, two": lambda t: with_threads(2, lambda: stage_batched(t)),
        "ours, two": lambda t: with_threads(2, lambda: stage_ours(t)),
        "scoring, two": lambda t: with_threads(2, lambda: scoring(t)),
    }
    counts = dict.fromkeys(works, repeats) | {"loop": max(1, repeats // 3)}
    best, values = alternate({k: (lambda f=f: f(tracks)) for k, f in works.items()}, counts)
    for name in ("loop", "batched", "single", "scoring"):
        for metric, value in values["ours"].items():
            if not np.isclose(values[name][metric], value, rtol=1e-4):
                sys.exit(f"{name} and ours differ in {metric}: {values[name][metric]} and {value}")
    return {
        "loop_s": best["loop"],
        "batched_s": best["batched"],
        "one_function_each_s": best["single"],
        "ours_s": best["ours"],
        "over_loop": best["loop"] / best["ours"],
        "over_batched": best["batched"] / best["ours"],
        "scoring_s": best["scoring"],
        "scoring_over_loop": best["loop"] / best["scoring"],
        "scoring_over_batched": best["batched"] / best["scoring"],
        "two_threads_batched_s": best["batched, two"],
        "two_threads_scoring_s": best["scoring, two"],
        "two_threads_over_loop": best["loop"] / best["ours, two"],
        "two_threads_over_batched": best["batched, two"] / best["ours, two"],
        "two_threads_scoring_over_loop": best["loop"] / best["scoring, two"],
        "two_threads_scoring_over_batched": best["batched, two"] / best["scoring, two"],
        "largest_difference_m": largest_difference(tracks),
    }


def with_threads(count: int, work: Callable[[], Any]) -> Any:
    """Both sides' way of taking threads: torch's own, and ours."""
    os.environ["OMP_NUM_THREADS"] = str(count)
    torch.set_num_threads(count)
    try:
        return work()
    finally:
        os.environ["OMP_NUM_THREADS"] = "1"
        torch.set_num_threads(1)


def bench_pve(repeats: int, frames: int = 2000) -> dict[str, float]:
    rng = np.random.default_rng(1)
    target = rng.normal(size=(frames, VERTICES, 3), scale=0.3).astype(np.float32)
    pred = (target + rng.normal(size=target.shape, scale=0.05)).astype(np.float32)
    works = {
        "temporaries": lambda: pve_three_temporaries(pred, target),
        "one thread": lambda: with_threads(1, lambda: metrics.pve(pred, target)),
        "two threads": lambda: with_threads(2, lambda: metrics.pve(pred, target)),
    }
    best, values = alternate(works, dict.fromkeys(works, repeats))
    np.testing.assert_allclose(values["one thread"], 1000 * values["temporaries"], rtol=1e-3)
    return {
        "temporaries_s": best["temporaries"],
        "one_thread_s": best["one thread"],
        "two_threads_s": best["two threads"],
        "one_thread_over": best["temporaries"] / best["one thread"],
        "two_threads_over": best["temporaries"] / best["two threads"],
        "temporaries_mib": peak_memory(works["temporaries"]),
        "largest_difference_m": float(
            np.abs(values["one thread"] / 1000 - exact_vertex_error(pred, target)).max()
        ),
        "ours_mib": peak_memory(works["two threads"]),
    }


def bench_score(repeats: int) -> dict[str, float]:
    """`hb.score` as a whole: frames, windows, metrics, intervals and tables."""
    tracks = make_tracks(np.random.default_rng(0))
    pred, target = (np.concatenate(side) for side in zip(*tracks, strict=True))
    track = np.repeat([f"s{i:02d}_0" for i in range(len(tracks))], [len(one) for one, _ in tracks])
    sides = {"joints3d": pred}, {"joints3d": target}
    best, _ = alternate({"ours": lambda: hb.score("tcmr", *sides, track=track)}, {"ours": repeats})
    return {"score_s": best["ours"]}


def bench_bootstrap(repeats: int) -> dict[str, float]:
    rng = np.random.default_rng(2)
    counts = rng.integers(300, 2000, size=24)
    sums = counts * rng.gamma(9, 9, size=24)
    best, _ = alternate({"ours": lambda: bootstrap_interval(sums, counts)}, {"ours": repeats})
    return {"resamples": 10_000, "ours_s": best["ours"]}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument(
        "--clock",
        choices=CLOCKS,
        default="wall",
        help="cpu: processor time, for a machine that others use (then two threads count twice)",
    )
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    global clock
    clock = CLOCKS[options.clock]
    report = {
        "metric stage, 37 tracks, 35,515 frames, 14 joints": bench_joints(options.repeats),
        "hb.score of the same": bench_score(options.repeats),
        "pve, 2,000 frames": bench_pve(options.repeats),
        "bootstrap, 24 sequences": bench_bootstrap(options.repeats),
    }
    if options.json:
        print(json.dumps(report, indent=2))
        return
    for title, numbers in report.items():
        print(title)
        for key, value in numbers.items():
            print(f"  {key:<34}{value:>12.4g}")


if __name__ == "__main__":
    main()
