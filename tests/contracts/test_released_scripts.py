"""Scores of random tracks against the released scripts' rules, written again here as plain loops over frames and tracks.

Nothing of the package is used for the expected numbers. Tracks have 1 to 60 (sometimes 260) frames, two people a video,
invalid frames at random.
"""

from typing import Any

import numpy as np
import pytest

import hpsbench as hb

Points = Any
MAJOR = [1, 2, 4, 5, 7, 8, 16, 17, 18, 19, 20, 21]


def similarity(pred: Points, target: Points, *, scaled: bool = True) -> tuple[float, Points, Points]:
    """Scale, rotation and translation that fit one set of points to another."""
    p, t = pred - pred.mean(0), target - target.mean(0)
    u, _, vh = np.linalg.svd(p.T @ t)
    flip = np.diag([1, 1, np.sign(np.linalg.det(u @ vh))])
    rotation = vh.T @ flip @ u.T
    scale = float(np.trace(rotation @ p.T @ t) / (p**2).sum()) if scaled else 1.0
    return scale, rotation, target.mean(0) - scale * rotation @ pred.mean(0)


def aligned(pred: Points, target: Points) -> Points:
    fits = (similarity(p, t) for p, t in zip(pred, target, strict=True))
    return np.array([s * p @ r.T + t for p, (s, r, t) in zip(pred, fits, strict=True)]).reshape(pred.shape)


def distance(pred: Points, target: Points) -> Points:
    return 1000 * np.linalg.norm(pred - target, axis=-1)


def second(points: Points) -> Points:
    return points[:-2] - 2 * points[1:-1] + points[2:]


def accel(pred: Points, target: Points | float = 0.0) -> Points:
    other = second(target) if isinstance(target, np.ndarray) else target
    return distance(second(pred), other).mean(-1)


def about(points: Points, *root: int) -> Points:
    return points - points[:, list(root)].mean(1, keepdims=True)


def area(errors: Points) -> float:
    curve = [float((errors <= limit).mean()) for limit in range(200)]
    return float(np.trapezoid(curve, np.arange(200) / 199))


def make(rng: np.random.Generator, joints: int) -> tuple[Points, Points, Points]:
    """Track names, prediction, target."""
    lengths = rng.integers(1, 260 if rng.random() < 0.2 else 60, rng.integers(1, 6))
    track = np.concatenate([[f"video{i // 2:02d}_{i % 2}"] * n for i, n in enumerate(lengths)])
    size = (len(track), joints, 3)
    target = rng.normal(size=(joints, 3)) * [0.25, 0.5, 0.15] + np.cumsum(0.02 * rng.normal(size=size), 0)
    return track, target + 0.06 * rng.normal(size=size) + rng.normal(size=3), target


def mean(parts: list[Points]) -> tuple[float, int]:
    values = np.concatenate([np.zeros(0), *parts])
    return (float(values.mean()) if len(values) else 0.0, len(values))


def check(result: Any, expected: dict[str, tuple[float, int]]) -> None:
    for name, (value, n) in expected.items():
        if n == 0:
            assert name in result.absent
            continue
        assert result.summary[name] == pytest.approx(value, rel=1e-7), name
        assert result.summary[name].n == n, name


@pytest.fixture(params=range(3))
def rng(request: pytest.FixtureRequest) -> np.random.Generator:
    return np.random.default_rng(request.param)


def tracks(track: Points, keep: Points) -> list[Points]:
    return [np.flatnonzero((track == name) & keep) for name in np.unique(track)]


@pytest.mark.parametrize(("dataset", "joints", "root"), [("3dpw", 14, (2, 3)), ("mpi-inf-3dhp", 17, (14,))])
@pytest.mark.parametrize("protocol", ["tcmr", "mpsnet"])
def test_one_window_per_frame(
    rng: np.random.Generator, protocol: str, dataset: str, joints: int, root: tuple[int, ...]
) -> None:
    track, pred, target = make(rng, joints)
    flags = rng.random(len(track)) > rng.choice([0.05, 0.3])
    cut = dataset == "3dpw"  # elsewhere the flags mask scores alone
    found: dict[str, list[Points]] = {"mpjpe": [], "pa_mpjpe": [], "accel_err": [], "accel_pred": []}
    for own in tracks(track, flags | (not cut)):
        if len(own) < 16:
            continue
        p, t = about(pred[own], *root), about(target[own], *root)
        scored = np.flatnonzero(flags[own])
        found["mpjpe"].append(distance(p, t).mean(-1)[scored])
        found["pa_mpjpe"].append(distance(aligned(p, t), t).mean(-1)[scored])
        inner = scored[(scored > 0) & (scored < len(own) - 1)] - 1
        found["accel_err"].append(accel(p, t)[inner])
        found["accel_pred"].append(accel(p)[inner])
    result = hb.score(
        protocol, {"joints3d": pred}, {"joints3d": target}, track=track, dataset=dataset,
        **{"seen" if cut else "scored": flags},
    )  # fmt: skip
    check(result, {name: mean(parts) for name, parts in found.items()})


@pytest.mark.parametrize("again", [False, True])
def test_chunks_of_all_tracks_concatenated(rng: np.random.Generator, again: bool) -> None:
    """With half-precision targets; a name that comes back is glued to the track before it."""
    track, pred, target = make(rng, 14)
    if again:
        track[-5:] = track[0]
    first = np.sort(np.unique(track, return_index=True)[1])
    chunks = [
        part[start : start + 16]
        for part in np.split(np.arange(len(track)), first[1:])
        for start in range(0, len(part) - 15, 16)
    ]
    rows = np.concatenate([np.zeros(0, int), *chunks])
    p, t = about(pred[rows], 2, 3), about(target.astype(np.float16).astype(float)[rows], 2, 3)
    result = hb.score("vibe-strict", {"joints3d": pred}, {"joints3d": target}, track=track)
    frames = {"mpjpe": [distance(p, t).mean(-1)], "pa_mpjpe": [distance(aligned(p, t), t).mean(-1)]}
    joined = {"accel_err": [accel(p, t)] * (len(p) > 2), "accel_pred": [accel(p)] * (len(p) > 2)}
    check(result, {name: mean(parts) for name, parts in (frames | joined).items()})


def test_every_valid_frame_once_and_shares_per_track(rng: np.random.Generator) -> None:
    track, pred, target = make(rng, 14)
    valid = rng.random(len(track)) > 0.1
    errors = []
    for own in tracks(track, valid):
        if len(own):
            p, t = about(pred[own], 2, 3), about(target[own], 2, 3)
            errors.append((distance(p, t).mean(-1), distance(aligned(p, t), t)))
    result = hb.score("meva", {"joints3d": pred}, {"joints3d": target}, track=track, seen=valid)
    check(result, {"mpjpe": mean([e for e, _ in errors]), "pa_mpjpe": mean([e.mean(-1) for _, e in errors])})
    assert result.summary["pa_pck150"] == pytest.approx(np.mean([100 * (e <= 150).mean() for _, e in errors]))
    assert result.summary["pa_auc200"] == pytest.approx(np.mean([area(e) for _, e in errors]))


def test_means_of_video_means(rng: np.random.Generator) -> None:
    track, pred, target = make(rng, 14)
    visible = rng.random(len(track)) > 0.2
    video = np.array([name[:-2] for name in track])
    means: dict[str, list[float]] = {"mpjpe": [], "pa_mpjpe": [], "accel_err": [], "accel_pred": []}
    for name in np.unique(video):
        parts: dict[str, list[Points]] = {key: [] for key in means}
        for own in tracks(track[video == name], np.ones((video == name).sum(), bool)):
            rows = np.flatnonzero(video == name)[own]
            p, t, v = pred[rows], target[rows], visible[rows]
            parts["mpjpe"].append(distance(about(p, 2, 3), about(t, 2, 3)).mean(-1)[v])
            parts["pa_mpjpe"].append(distance(aligned(p, t), t).mean(-1)[v])
            if len(rows) > 2:
                parts["accel_err"].append(accel(p, t)[v[2:] & v[1:-1] & v[:-2]])
                parts["accel_pred"].append(accel(p))
        for key, values in parts.items():
            value, n = mean(values)
            means[key] += [value] if n else []
    result = hb.score("hmmr", {"joints3d": pred}, {"joints3d": target}, track=track, scored=visible)
    for key, of_videos in means.items():
        if of_videos:
            rounded = 1000 * round(float(np.mean(of_videos)) / 1000, 5)
            assert result.summary[key] == pytest.approx(rounded, abs=1e-9), key


def test_all_24_joints_and_12_of_them(rng: np.random.Generator) -> None:
    track, pred, target = make(rng, 24)
    p, t = about(pred, 0), about(target, 0)
    errors = distance(p, t)
    result = hb.score("3dpw-challenge", {"joints3d": pred}, {"joints3d": target}, track=track)
    n = len(track)
    check(
        result,
        {
            "mpjpe": (errors.mean(), n),
            "pa_mpjpe": (distance(aligned(p, t), t).mean(), n),
            "pck50": (100 * (errors[:, MAJOR] <= 50).mean(), n),
            "auc200": (area(errors[:, MAJOR]), n),
        },
    )


def test_whole_tracks_in_the_camera(rng: np.random.Generator) -> None:
    track, pred, target = make(rng, 14)
    p, t = about(pred, 2, 3), about(target, 2, 3)
    cut = [0.9 * accel(p[own], t[own])[1:-1] for own in tracks(track, track != "") if len(own) > 4]
    result = hb.score("wham-camera", {"joints3d": pred}, {"joints3d": target}, track=track)
    check(result, {"mpjpe": (distance(p, t).mean(), len(track)), "accel_err_si": mean(cut)})


def test_whole_tracks_in_the_world(rng: np.random.Generator) -> None:
    track, pred, target = make(rng, 24)
    found: dict[str, list[Points]] = {"w_mpjpe": [], "wa_mpjpe": [], "rte": [], "jitter": []}

    def chunk_error(p: Points, t: Points, frames: int) -> Points:
        scale, rotation, shift = similarity(p[:frames].reshape(-1, 3), t[:frames].reshape(-1, 3))
        return distance(scale * p @ rotation.T + shift, t).mean(-1)

    for own in tracks(track, track != ""):
        for start in range(0, len(own), 100):
            p, t = pred[own[start : start + 100]], target[own[start : start + 100]]
            found["w_mpjpe"].append(chunk_error(p, t, 2))
            found["wa_mpjpe"].append(chunk_error(p, t, len(p)))
        path, true_path = pred[own, 0], target[own, 0]
        if len(own) > 1:
            _, rotation, shift = similarity(path, true_path, scaled=False)
            length = np.linalg.norm(np.diff(true_path, axis=0), axis=-1).sum()
            found["rte"].append(distance(path @ rotation.T + shift, true_path) / 10 / length)
        if len(own) > 3:
            found["jitter"].append(
                np.linalg.norm(np.diff(pred[own], 3, axis=0), axis=-1).mean(-1) * 30**3 / 10
            )
    result = hb.score("wham-world", {"joints3d": pred}, {"joints3d": target}, track=track)
    check(result, {name: mean(parts) for name, parts in found.items()})


def test_single_frames_about_the_regressors_pelvis(rng: np.random.Generator) -> None:
    track, pred, target = make(rng, 17)
    valid = rng.random(len(track)) > 0.3
    order = [6, 5, 4, 1, 2, 3, 16, 15, 14, 11, 12, 13, 8, 10]
    p, t = (about(side, 0)[:, order] for side in (pred, target))
    result = hb.score("spin", {"joints3d": pred}, {"joints3d": target}, track=track, seen=valid)
    check(
        result,
        {
            "mpjpe": mean([distance(p, t).mean(-1)[valid]]),
            "pa_mpjpe": mean([distance(aligned(p, t), t).mean(-1)[valid]]),
        },
    )
