"""Frames -> windows -> one prediction per frame: the only place that cuts windows.

A track of n frames (rows 0..n-1, already without the frames that may not be seen) is cut into windows of
`length` rows. Rows, not time: whether a gap in time ends a segment is decided before (`gaps` of a protocol).

Sources: VIBE `lib/dataset/dataset_3d.py` (chunks without overlap), TCMR `lib/data_utils/img_utils.py` (head, tail and
match rule for any length and stride), MEVA `meva/utils/image_utils.py` (last window shifted back, overlap halves cut),
human_dynamics `src/evaluation/tester.py` (middle frames kept, zero images beyond the ends).
"""

from typing import Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from hpsbench.errors import BadData, UsageError
from hpsbench.types import WindowRule

Predict: TypeAlias = Literal["all", "middle", "last"]
Edges: TypeAlias = Literal["drop", "repeat-frame", "repeat-window", "shift-last", "zero-image"]
Overlap: TypeAlias = Literal["none", "cut-half", "central"]
Short: TypeAlias = Literal["skip", "pad", "error"]

_CHOICES: dict[str, tuple[str, ...]] = {
    "predict": ("all", "middle", "last"),
    "edges": ("drop", "repeat-frame", "repeat-window", "shift-last", "zero-image"),
    "overlap": ("none", "cut-half", "central"),
    "short": ("skip", "pad", "error"),
}


class Window(NamedTuple):
    """One window over the rows 0..n-1 of a track.

    Attributes:
        first, last: inclusive rows. A static window of frame i, in which that frame is repeated `length` times, is
            (i, i). Rows below 0 or from n on stand for zero images (`edges = "zero-image"`) or, above, for the last
            frame repeated (`short = "pad"`); `window_rows` spells them out.
        predicted: the row whose prediction is used, an int, where a window predicts one frame ("middle" without
            `keep`, "last"); else a `range` of rows, always inside 0..n-1.
    """

    first: int
    last: int
    predicted: int | range


def windows(
    n: int,
    *,
    length: int | Literal["track"] = 16,
    stride: int | Literal["track"] | None = None,
    predict: Predict = "all",
    keep: int | None = None,
    edges: Edges = "drop",
    overlap: Overlap = "none",
    short: Short = "skip",
    match: int | None = None,
) -> list[Window]:
    """Cut a track of n frames into windows, in the order in which the released scripts feed them.

    Full windows start at 0, stride, 2 stride, ... as long as all their rows exist; `predict` says which of their rows
    are used. What happens to the other rows is `edges`:

    - `drop`: nothing; the n mod length last frames of VIBE's chunks are not predicted.
    - `repeat-frame`: one static window (i, i, i) for each frame before the first predicted frame, and for each that
      follows the predicted frame of the last full window, up to that window's end. For "middle" these are
      length // 2 and int(length / 2 + 0.5) - 1 windows (TCMR's evaluation). With stride = length: none.
    - `repeat-window`: as many copies of the first and of the last full window instead (TCMR's training).
    - `shift-last`: one more window that ends with the track and predicts the frames that no other window predicts.
    - `zero-image`: windows start so that frame 0 is the first predicted one, and go on until frame n-1 is predicted;
      they reach over both ends (HMMR). No track is too short for this.

    Args:
        n: frames of the track.
        length: rows per window, or "track": one window over the whole track.
        stride: rows between window starts; None: `length`.
        predict: "all" rows, the "middle" (first + length // 2) or the "last".
        keep: with "middle": how many rows round the middle, from middle - keep // 2 on.
        edges: see above.
        overlap: which window gives a frame that several predict: "none" (all of them do, except that a shifted last
            window gives only the rest), "cut-half" (half of the overlap is cut off either side; MEVA; a shifted last
            window fills the rest and is there even where the last full window already ends with the track), "central"
            (the window in which the frame lies most centrally; the earlier one in a tie).
        short: tracks with n < length are skipped ("skip": no windows), padded with their last frame to one window
            ("pad"; the padding is never predicted), or an "error".
        match: TCMR's match rule, 16 in its validation: full windows that follow the one which ends on row
            match * (n // match) - 1 are dropped; if none ends there, none is. Not applied where stride = length.

    Returns:
        Windows in feeding order.

    Raises:
        UsageError: a value that is not allowed, or a combination that has no meaning; n < match where the match rule
            applies.
        BadData: n < length with `short = "error"`.

    Examples:
        >>> windows(40, length=16)
        [Window(first=0, last=15, predicted=range(0, 16)), Window(first=16, last=31, predicted=range(16, 32))]
        >>> rule = dict(length=16, stride=1, predict="middle", edges="repeat-frame")
        >>> len(windows(40, **rule)), len(windows(40, **rule, match=16)), windows(40, **rule)[:2]
        (40, 32, [Window(first=0, last=0, predicted=0), Window(first=1, last=1, predicted=1)])
        >>> [list(w.predicted) for w in windows(7, length=5, stride=3, edges="shift-last", overlap="central")]
        [[0, 1, 2, 3], [4, 5, 6]]
    """
    _check(n, length, stride, predict, keep, edges, overlap, short, match)
    if length == "track":
        return [Window(0, n - 1, range(n))] if n else []
    step = length if stride is None else int(stride)
    used = _used_rows(length, predict, keep)
    if edges == "zero-image":
        return _over_the_ends(n, length, step, used, single=keep is None and predict != "all")
    if n < length:
        if short == "skip" or n == 0:
            return []
        if short == "error":
            raise BadData(
                f"a track of {n} frames is shorter than the window of {length}; use short='skip' or short='pad'"
            )
    padded = max(n, length)
    starts = list(range(0, padded - length + 1, step))
    if edges in ("repeat-frame", "repeat-window") and step != length:
        found = _with_head_and_tail(starts, length, used, padded, edges, match)
    elif overlap == "none":
        found = _plain(starts, length, used, padded, shift=edges == "shift-last")
    elif overlap == "cut-half":
        found = _cut_half(starts, length, step, padded, shift=edges == "shift-last")
    else:
        found = _central(starts, length, padded, shift=edges == "shift-last")
    single = keep is None and predict != "all"
    return _inside(found, n, single=single)


def rule_windows(n: int, rule: WindowRule) -> list[Window]:
    """`windows` by a `WindowRule`, as protocols and systems carry it."""
    return windows(
        n,
        length=rule.length,
        stride=rule.stride,
        predict=rule.predict,
        keep=rule.keep,
        edges=rule.edges,
        overlap=rule.overlap,
        short=rule.short,
        match=rule.match,
    )


def predicted_rows(cut: list[Window]) -> NDArray[np.int64]:
    """Rows that the windows predict, in feeding order: of a rule for evaluation, each at most once."""
    parts = [
        w.predicted if isinstance(w.predicted, range) else range(w.predicted, w.predicted + 1) for w in cut
    ]
    return np.fromiter((row for part in parts for row in part), dtype=np.int64)


def window_rows(
    window: Window, *, length: int, n: int, outside: Literal["repeat", "zero"]
) -> NDArray[np.int64]:
    """Rows of the track behind the `length` places of a window.

    Args:
        window: of `windows`.
        length: places per window; a static window (i, i) is its frame `length` times.
        n: frames of the track.
        outside: "repeat": rows from n on are the last frame; "zero": rows outside 0..n-1 are -1, zero images.

    Returns:
        (length,) int64.
    """
    if window.first == window.last:
        rows = np.full(length, window.first, dtype=np.int64)
    else:
        rows = np.arange(window.first, window.last + 1, dtype=np.int64)
    if outside == "repeat":
        return np.clip(rows, 0, n - 1)
    return np.where((rows < 0) | (rows >= n), -1, rows)


def _check(
    n: int,
    length: int | str,
    stride: int | str | None,
    predict: str,
    keep: int | None,
    edges: str,
    overlap: str,
    short: str,
    match: int | None,
) -> None:
    """Refuse values and combinations that have no meaning."""
    for key, value in (("predict", predict), ("edges", edges), ("overlap", overlap), ("short", short)):
        if value not in _CHOICES[key]:
            raise UsageError(f"windows: {key}={value!r} is not one of {', '.join(_CHOICES[key])}")
    if n < 0:
        raise UsageError(f"windows: n={n} frames")
    if match is not None and match < 1:
        raise UsageError(f"windows: match={match}; expected a positive number of frames or None")
    if length == "track":
        if predict != "all" or keep is not None or stride not in (None, "track"):
            raise UsageError(
                "windows: length='track' is one window that predicts all; leave stride, predict and keep"
            )
        return
    if isinstance(length, str) or length < 1:
        raise UsageError(f"windows: length={length!r}; expected a positive number of frames or 'track'")
    if isinstance(stride, str) or (stride is not None and stride < 1):
        raise UsageError(f"windows: stride={stride!r}; expected a positive number of frames")
    if keep is not None and (predict != "middle" or not 1 <= keep <= length):
        raise UsageError(f"windows: keep={keep} needs predict='middle' and 1 <= keep <= length ({length})")
    if overlap != "none" and (predict != "all" or edges not in ("drop", "shift-last")):
        raise UsageError(f"windows: overlap={overlap!r} needs predict='all' and edges 'drop' or 'shift-last'")
    step = length if stride is None else stride
    if overlap != "none" and step > length:
        raise UsageError(f"windows: overlap={overlap!r} needs stride ({step}) <= length ({length})")
    if (
        edges in ("repeat-frame", "repeat-window")
        and step != length
        and (predict == "all" or keep is not None)
    ):
        raise UsageError(f"windows: edges={edges!r} needs predict='middle' or 'last', without keep")


def _used_rows(length: int, predict: str, keep: int | None) -> range:
    """Places of a full window whose predictions are used."""
    if predict == "all":
        return range(length)
    if predict == "last":
        return range(length - 1, length)
    first = length // 2 - (keep or 1) // 2
    return range(max(first, 0), min(first + (keep or 1), length))


def _plain(starts: list[int], length: int, used: range, n: int, *, shift: bool) -> list[Window]:
    """Every window gives all its used rows; a shifted last window gives those that no other does."""
    found = [Window(s, s + length - 1, range(s + used.start, s + used.stop)) for s in starts]
    if shift and starts[-1] + length < n:
        start = n - length
        rest = max(start + used.start, starts[-1] + used.stop)
        found.append(Window(start, n - 1, range(rest, start + used.stop)))
    return found


def _with_head_and_tail(
    starts: list[int], length: int, used: range, n: int, edges: str, match: int | None
) -> list[Window]:
    """TCMR's rule: match, then static or repeated windows for the frames before and after the predicted ones."""
    if match is not None:
        if n < match:
            raise UsageError(
                f"windows: the match rule needs tracks of at least match={match} frames, got {n}"
            )
        end = match * (n // match) - length
        if end in starts:
            starts = starts[: starts.index(end) + 1]
    place = used.start
    full = [Window(s, s + length - 1, s + place) for s in starts]
    head, tail = place, length - 1 - place
    if edges == "repeat-window":
        return [full[0]] * head + full + [full[-1]] * tail
    after = starts[-1] + place + 1
    statics = [Window(i, i, i) for i in range(after, after + tail)]
    return [Window(i, i, i) for i in range(head)] + full + statics


def _cut_half(starts: list[int], length: int, step: int, n: int, *, shift: bool) -> list[Window]:
    """Half of the overlap is cut off either side; the last window gives the rest of what it covers."""
    right = (length - step) // 2
    found: list[Window] = []
    given = 0
    for start in starts:
        is_end = not shift and start == starts[-1]
        stop = start + length - (0 if is_end else right)
        found.append(Window(start, start + length - 1, range(given, stop)))
        given = stop
    if shift and given < n:
        found.append(Window(n - length, n - 1, range(given, n)))
    return found


def _central(starts: list[int], length: int, n: int, *, shift: bool) -> list[Window]:
    """Every frame from the window whose centre is nearest; the earlier window in a tie."""
    if shift and starts[-1] + length < n:
        starts = [*starts, n - length]
    found: list[Window] = []
    given = 0
    for start, following in zip(starts, [*starts[1:], None], strict=True):
        # Frame r is as near to both centres where 2 r = start + following + length - 1.
        stop = start + length if following is None else (start + following + length - 1) // 2 + 1
        found.append(Window(start, start + length - 1, range(given, stop)))
        given = stop
    return found


def _over_the_ends(n: int, length: int, step: int, used: range, *, single: bool) -> list[Window]:
    """Windows whose used rows begin at 0, step, 2 step, ...; the rest may lie outside the track."""
    found = []
    for row in range(0, n, step):
        first = row - used.start
        found.append(Window(first, first + length - 1, range(row, row + len(used))))
    return _inside(found, n, single=single)


def _inside(found: list[Window], n: int, *, single: bool) -> list[Window]:
    """Predicted rows clipped to the track; windows that predict nothing of it go; one row is an int."""
    kept = []
    for first, last, predicted in found:
        if isinstance(predicted, int):
            predicted = range(predicted, predicted + 1)
        rows = range(predicted.start, min(predicted.stop, n))
        if len(rows) > 0:
            kept.append(Window(first, last, rows.start if single else rows))
    return kept
