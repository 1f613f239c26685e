"""What every corruption must keep, whoever adds it."""

import json

import numpy as np
import pytest

from hpsbench.corruption._catalog import get_corruption, list_corruptions
from hpsbench.corruption._corruption import Corruption, Scene, moved_box
from hpsbench.corruption._pattern import check_pattern
from hpsbench.corruption._plan import choose_condition, plan_track

FRAMES = 40
SEVERITIES = (1, 2, 3, 4, 5)


def scene(frames: int = FRAMES) -> Scene:
    """A person who walks through an image of 120 x 100, with somebody else there in every second frame."""
    rng = np.random.default_rng(3)
    centres = np.stack([np.linspace(35, 80, frames), np.full(frames, 50.0)], axis=1)
    boxes = np.concatenate([centres, np.full((frames, 2), 70.0)], axis=1)
    others = boxes + np.array([15, 5, -10, -10])
    others[::2] = np.nan
    points = centres[:, None] + rng.uniform((-12, -30), (12, 30), (frames, 14, 2))
    tight = np.concatenate([points.min(axis=1), points.max(axis=1)], axis=1)
    return Scene(
        rows=100 + np.arange(frames), tight=tight, boxes=boxes, crop_scale=1.1, keypoints=points, size=(120, 100),
        others=others,
    )  # fmt: skip


def planned(
    name: str, severity: int, seed: int = 0, frames: int = FRAMES
) -> tuple[Corruption, np.ndarray, np.ndarray]:
    corruption = get_corruption(name)
    condition = choose_condition(corruption, severity=severity, seed=seed)
    drawn = plan_track(corruption, condition, "a_0", scene(frames))
    return corruption, drawn.frames, drawn.what


@pytest.mark.parametrize("name", list_corruptions())
def test_severity_is_a_table_of_five_feasible_levels(name: str) -> None:
    corruption = get_corruption(name)
    assert corruption.name == name
    assert len(corruption.levels) == 5
    assert len({level for level in corruption.levels}) == 5
    for ratio, consecutive, strength in corruption.levels:
        check_pattern(ratio, consecutive, "random")
        assert bool(strength) == corruption.graded
    if not corruption.graded:
        assert [level[:2] for level in corruption.levels] == sorted(level[:2] for level in corruption.levels)


@pytest.mark.parametrize("severity", SEVERITIES)
@pytest.mark.parametrize("name", list_corruptions())
def test_a_plan_repeats_and_says_everything_in_whole_numbers(name: str, severity: int) -> None:
    corruption, frames, what = planned(name, severity)
    assert what.dtype == np.int64
    assert what.shape == (len(frames), len(corruption.columns))
    assert len(frames) > 0
    for one, again in zip((frames, what), planned(name, severity)[1:], strict=True):
        np.testing.assert_array_equal(one, again)
    empty = corruption.plan(scene(), np.zeros(0, np.int64), severity, np.random.default_rng(0))
    assert empty.shape == (0, len(corruption.columns))
    assert json.loads(json.dumps(what.tolist())) == what.tolist()


@pytest.mark.parametrize("severity", SEVERITIES)
@pytest.mark.parametrize("name", list_corruptions())
def test_every_hit_frame_is_changed_and_nothing_else_is(name: str, severity: int) -> None:
    corruption, frames, what = planned(name, severity)
    image = np.random.default_rng(1).integers(20, 255, (100, 120, 3), dtype=np.uint8)
    before, own = image.copy(), scene()
    for frame, numbers in zip(frames.tolist(), what, strict=True):
        if corruption.kind == "image":
            changed = corruption.apply(image, numbers)
            assert changed.shape == image.shape
            assert changed.dtype == np.uint8
            assert (changed != before).any()
            np.testing.assert_array_equal(changed, corruption.apply(image, numbers))
        elif corruption.kind == "box":
            box = moved_box(numbers)
            assert np.isfinite(box).all()
            assert box[2] == box[3] > 0
            assert np.abs(box - own.boxes[frame]).max() > 0.01
        else:
            assert numbers[0] in own.rows
            assert numbers[0] != own.rows[frame]
    np.testing.assert_array_equal(image, before)


@pytest.mark.parametrize("name", [n for n in list_corruptions() if get_corruption(n).graded])
def test_a_higher_severity_changes_more(name: str) -> None:
    corruption = get_corruption(name)
    image = np.random.default_rng(1).integers(20, 255, (100, 120, 3), dtype=np.uint8)
    image = np.repeat(np.repeat(image[::4, ::4], 4, axis=0), 4, axis=1)  # with some shape in it, for blur
    own, amounts = scene(), []
    for severity in SEVERITIES:
        _, frames, what = planned(name, severity)
        if corruption.kind == "image":
            changes = [np.abs(corruption.apply(image, n).astype(float) - image).mean() for n in what]
        else:
            changes = [np.abs(moved_box(n) - own.boxes[f]).sum() for f, n in zip(frames, what, strict=True)]
        amounts.append(np.mean(changes))
    assert amounts == sorted(amounts)
    assert amounts[-1] > 1.3 * amounts[0]


@pytest.mark.parametrize("name", list_corruptions())
@pytest.mark.parametrize("frames", [1, 2, 5])
def test_short_tracks_are_no_trouble(name: str, frames: int) -> None:
    for severity in SEVERITIES:
        _, hit, _ = planned(name, severity, frames=frames)
        assert len(hit) <= frames
