"""Windows against independent simulations of the released scripts, exhaustively over small tracks."""

import itertools
from collections import Counter

import numpy as np
import pytest

from hpsbench.errors import BadData, HpsbenchError, UsageError
from hpsbench.store.windows import Window, predicted_rows, rule_windows, window_rows, windows
from hpsbench.types import WindowRule

TCMR = {"length": 16, "stride": 1, "predict": "middle", "edges": "repeat-frame"}
MEVA = {"length": 90, "stride": 80, "edges": "shift-last", "overlap": "cut-half", "short": "pad"}
HMMR = {"length": 20, "stride": 8, "predict": "middle", "keep": 8, "edges": "zero-image"}


def sliding(n: int, length: int, stride: int) -> np.ndarray:
    """All full windows as rows of indices, the way view_as_windows gives them."""
    if n < length:
        return np.zeros((0, length), dtype=int)
    return np.lib.stride_tricks.sliding_window_view(np.arange(n), length)[::stride]


def simulate_tcmr(
    n: int, length: int, stride: int, match: int | None, train: bool
) -> list[tuple[int, int, int]]:
    """The rule of the reference, told as the script does it: chunks first, then rows around them."""
    chunks = [(int(c[0]), int(c[-1])) for c in sliding(n, length, stride)]
    if not chunks:
        return []
    if stride == length:
        return [(a, b, a + length // 2) for a, b in chunks]
    if match:
        if n < match:
            raise ValueError
        wanted = n - n % match - 1
        ends = [b for _, b in chunks]
        while wanted in ends and chunks[-1][1] != wanted:
            chunks.pop()
    head_count, tail_count = length // 2, int(length / 2 + 0.5) - 1
    middle = [(a, b, a + length // 2) for a, b in chunks]
    if train:
        return [middle[0]] * head_count + middle + [middle[-1]] * tail_count
    head = [(i, i, i) for i in range(head_count)]
    last_middle = middle[-1][2]
    tail = [(last_middle + k, last_middle + k, last_middle + k) for k in range(1, tail_count + 1)]
    return head + middle + tail


def simulate_meva(n: int, size: int, overlap: int) -> list[tuple[int, int, list[int]]]:
    """Regular windows, one more aligned to the end, halves of the overlap cut: for n >= size."""
    chunks = [list(map(int, c)) for c in sliding(n, size, size - overlap)]
    chunks.append(list(range(n - size, n)))
    half = overlap // 2
    rows: list[tuple[int, int, list[int]]] = []
    for k, chunk in enumerate(chunks):
        if k == 0:
            used = chunk[: size - half]
        elif k < len(chunks) - 1:
            used = chunk[half : size - half]
        else:
            count = chunk[size - overlap - 1] - chunks[-2][size - overlap - 1] + half
            used = chunk[size - count :] if count else []
        rows.append((chunk[0], chunk[-1], used))
    return rows


@pytest.mark.parametrize(("length", "stride"), [(16, 16), (16, 4), (5, 2), (1, 1), (3, 7)])
def test_plain_chunks_are_all_full_windows(length: int, stride: int) -> None:
    for n in range(60):
        cut = windows(n, length=length, stride=stride)
        expected = [(int(c[0]), int(c[-1]), [int(i) for i in c]) for c in sliding(n, length, stride)]
        assert [(w.first, w.last, list(w.predicted)) for w in cut] == expected


def test_chunks_without_overlap_lose_the_remainder() -> None:
    for n in range(200):
        assert predicted_rows(windows(n)).tolist() == list(range(n - n % 16))


def test_stride_defaults_to_the_length() -> None:
    assert windows(100, length=10) == windows(100, length=10, stride=10)


@pytest.mark.parametrize("train", [False, True])
@pytest.mark.parametrize("match", [None, 16, 5])
def test_tcmr_rule_for_any_length_and_stride(match: int | None, train: bool) -> None:
    edges = "repeat-window" if train else "repeat-frame"
    for length, stride in itertools.product(range(1, 20), range(1, 20)):
        for n in (0, length - 1, length, length + 1, 15, 16, 17, 31, 32, 40, 47, 48, 63):
            call = {"length": length, "stride": stride, "predict": "middle", "edges": edges, "match": match}
            try:
                expected = simulate_tcmr(n, length, stride, match, train)
            except ValueError:
                with pytest.raises(UsageError, match="match rule"):
                    windows(n, **call)
                continue
            assert [tuple(w) for w in windows(n, **call)] == expected, (n, call)


def test_tcmr_predicts_every_frame_once_with_15_static_windows() -> None:
    for n in range(16, 120):
        cut = windows(n, **TCMR)
        assert sorted(predicted_rows(cut).tolist()) == list(range(n))
        assert sum(w.first == w.last for w in cut) == 15
        assert [w.predicted for w in cut if w.first != w.last] == list(range(8, n - 7))


def test_a_track_of_40_rows_has_40_entries_and_32_with_the_match_rule() -> None:
    assert len(windows(40, **TCMR)) == 40
    matched = windows(40, **TCMR, match=16)
    assert len(matched) == 32
    assert [w.predicted for w in matched[-7:]] == list(range(25, 32))  # not the track's last frames
    assert windows(40, **{**TCMR, "stride": 16}) == [Window(0, 15, 8), Window(16, 31, 24)]


def test_the_match_rule_leaves_a_multiple_of_16_entries() -> None:
    for n in range(16, 200):
        assert len(windows(n, **TCMR, match=16)) == 16 * (n // 16)


def test_tcmr_skips_15_frames_and_keeps_16() -> None:
    assert windows(15, **TCMR) == []
    assert len(windows(16, **TCMR)) == 16


def test_the_match_rule_needs_its_frames_where_it_applies() -> None:
    short = {"predict": "middle", "edges": "repeat-frame", "match": 16}
    with pytest.raises(UsageError, match="at least match=16 frames, got 12"):
        windows(12, length=8, stride=1, **short)
    assert windows(12, length=8, stride=8, **short) == [Window(0, 7, 4)]
    assert windows(12, length=16, stride=1, **short) == []


def test_meva_windows_are_those_of_the_script() -> None:
    for n in range(90, 401):
        cut = windows(n, **MEVA)
        assert [(w.first, w.last, list(w.predicted)) for w in cut] == simulate_meva(n, 90, 10)
        assert predicted_rows(cut).tolist() == list(range(n))
    first, second = windows(250, **MEVA)[:2]
    assert (first.predicted, second.predicted) == (range(85), range(85, 165))


@pytest.mark.parametrize(("length", "overlap"), [(4, 2), (6, 2), (10, 8), (7, 3), (9, 0)])
def test_cut_half_gives_every_frame_once_for_any_overlap(length: int, overlap: int) -> None:
    for n in range(length, 50):
        cut = windows(n, length=length, stride=length - overlap, edges="shift-last", overlap="cut-half")
        assert predicted_rows(cut).tolist() == list(range(n))
        for w in cut:
            assert w.last - w.first == length - 1
            assert w.first <= w.predicted.start
            assert w.predicted.stop - 1 <= w.last
        dropped = windows(n, length=length, stride=length - overlap, overlap="cut-half")
        assert predicted_rows(dropped).tolist() == list(range(dropped[-1].last + 1))


def test_short_tracks_are_padded_skipped_or_refused() -> None:
    assert windows(40, **MEVA) == [Window(0, 89, range(40))]
    assert [w.predicted for w in windows(87, **MEVA)] == [range(85), range(85, 87)]
    assert windows(40, **{**MEVA, "short": "skip"}) == []
    with pytest.raises(BadData, match="40 frames is shorter than the window of 90"):
        windows(40, **{**MEVA, "short": "error"})
    assert windows(3, **TCMR, short="pad") == [Window(0, 0, 0), Window(1, 1, 1), Window(2, 2, 2)]
    assert windows(0, **MEVA) == []


@pytest.mark.parametrize(("length", "stride"), [(8, 8), (8, 3), (16, 16), (5, 2), (6, 1)])
def test_central_gives_every_frame_from_the_most_central_window(length: int, stride: int) -> None:
    for n in range(length, 60):
        cut = windows(n, length=length, stride=stride, edges="shift-last", overlap="central")
        firsts = list(range(0, n - length + 1, stride))
        if firsts[-1] != n - length:
            firsts.append(n - length)
        owner: dict[int, list[int]] = {first: [] for first in firsts}
        for row in range(n):
            inside = [f for f in firsts if f <= row < f + length]
            owner[min(inside, key=lambda f: (abs(2 * (row - f) - (length - 1)), f))].append(row)
        assert {w.first: list(w.predicted) for w in cut} == {f: rows for f, rows in owner.items() if rows}


def test_every_length_can_be_scored_on_the_same_frames() -> None:
    for n, length in itertools.product((3, 16, 47, 50, 128), (8, 16, 32, 48, 128)):
        cut = windows(n, length=length, edges="shift-last", overlap="central", short="pad")
        assert predicted_rows(cut).tolist() == list(range(n))


def test_shift_last_without_overlap_predicts_only_the_rest() -> None:
    assert windows(40, edges="shift-last")[-1] == Window(24, 39, range(32, 40))
    for n in range(16, 100):
        assert predicted_rows(windows(n, edges="shift-last")).tolist() == list(range(n))


def test_hmmr_windows_reach_over_both_ends() -> None:
    for n in range(100):
        margin, kept = 6, 8
        padded = [-1] * margin + list(range(n)) + [-1] * 40
        cut = windows(n, **HMMR)
        assert len(cut) == -(-n // kept)
        for i, w in enumerate(cut):
            expected = padded[i * kept : i * kept + 20]
            assert window_rows(w, length=20, n=n, outside="zero").tolist() == expected
            assert list(w.predicted) == [r for r in expected[margin : margin + kept] if r >= 0]
        assert predicted_rows(cut).tolist() == list(range(n))


def test_zero_images_also_surround_a_single_predicted_frame() -> None:
    assert windows(2, length=5, stride=1, predict="middle", edges="zero-image") == [
        Window(-2, 2, 0),
        Window(-1, 3, 1),
    ]


def test_last_frame_windows_have_a_head_but_no_tail() -> None:
    cut = windows(6, length=4, stride=1, predict="last", edges="repeat-frame")
    assert cut == [
        Window(0, 0, 0),
        Window(1, 1, 1),
        Window(2, 2, 2),
        Window(0, 3, 3),
        Window(1, 4, 4),
        Window(2, 5, 5),
    ]


def test_the_whole_track_is_one_window() -> None:
    assert windows(7, length="track") == [Window(0, 6, range(7))]
    assert windows(0, length="track") == []


def test_no_rule_predicts_a_row_outside_the_track_and_only_overlaps_repeat() -> None:
    edges = ("drop", "repeat-frame", "repeat-window", "shift-last", "zero-image")
    for n, length, stride, edge, short in itertools.product(
        (0, 1, 5, 16, 23), (1, 4, 7), (1, 3, 4, 9), edges, ("skip", "pad")
    ):
        for predict in ("all", "middle", "last"):
            try:
                cut = windows(n, length=length, stride=stride, predict=predict, edges=edge, short=short)
            except HpsbenchError:
                continue
            rows = Counter(predicted_rows(cut).tolist())
            assert all(0 <= row < n for row in rows)
            if edge != "repeat-window" and (stride >= length or predict != "all"):
                assert not rows or max(rows.values()) == 1


def test_window_rows_spells_out_static_and_padded_windows() -> None:
    assert window_rows(Window(3, 3, 3), length=4, n=9, outside="repeat").tolist() == [3, 3, 3, 3]
    assert window_rows(Window(0, 4, range(2)), length=5, n=2, outside="repeat").tolist() == [0, 1, 1, 1, 1]
    assert window_rows(Window(-2, 2, 0), length=5, n=2, outside="zero").tolist() == [-1, -1, 0, 1, -1]


def test_a_window_rule_gives_the_same_windows() -> None:
    rule = WindowRule(length=90, stride=80, edges="shift-last", overlap="cut-half", short="pad")
    assert rule_windows(333, rule) == windows(333, **MEVA)
    assert rule_windows(33, WindowRule(length="track", stride="track")) == windows(33, length="track")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ({"predict": "centre"}, "predict='centre' is not one of all, middle, last"),
        ({"edges": "mirror"}, "edges='mirror'"),
        ({"overlap": "half"}, "overlap='half'"),
        ({"short": "drop"}, "short='drop'"),
        ({"length": 0}, "length=0"),
        ({"stride": 0}, "stride=0"),
        ({"match": 0}, "match=0"),
        ({"length": "clip"}, "length='clip'"),
        ({"length": "track", "stride": 4}, "leave stride"),
        ({"keep": 3}, "keep=3 needs predict='middle'"),
        ({"predict": "middle", "keep": 17}, "keep=17"),
        ({"overlap": "central", "predict": "middle"}, "needs predict='all'"),
        ({"overlap": "cut-half", "stride": 20}, "stride"),
        ({"edges": "repeat-frame", "stride": 4}, "needs predict='middle' or 'last'"),
    ],
)
def test_meaningless_rules_are_refused(call: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        windows(100, **call)


def test_a_negative_number_of_frames_is_refused() -> None:
    with pytest.raises(UsageError, match="n=-1"):
        windows(-1)
