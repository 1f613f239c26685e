"""`predict` for every feature system: slides its window over a track and batches, so that systems only compute."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, ClassVar, Literal, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from hpsbench.errors import HpsbenchError
from hpsbench.models._sliding import overlaps_much, windows_at_once
from hpsbench.models._streams import Stream, frames_per_batch, streams_of
from hpsbench.models._system import PREDICTED_FIELDS, HPSOutput
from hpsbench.store.windows import Window, rule_windows, window_rows
from hpsbench.types import NOTHING, Array, ClipInput, Inputs, Prediction, WindowRule

FRAMES_PER_BATCH = 1024
"""Frames that run through a network at once; windows are grouped up to this (64 windows of 16)."""


class Batch(Protocol):
    """What `forward_train` reads of a training batch: features (B, T, F)."""

    @property
    def features(self) -> Tensor: ...


class FeatureSystem(nn.Module):
    """A network from features (B, T, F) to bodies. Subclasses define `forward`; the rest is shared.

    Attributes:
        name: as in the catalogue of systems.
        context: the window that the system was made for; under it every frame of a track is predicted once.
        options: keyword arguments that make this network again.
        inputs: what it reads; after loading a checkpoint with the extractor that it was trained on.
        card: of its checkpoint, or empty.
        checkpoint_sha256: of the file that it was loaded from, or None.
        shares_windows: whether it reads features alone, and `forward_windows` is cheaper than `forward` where windows
            overlap much.
    """

    name: ClassVar[str]
    context: ClassVar[WindowRule]
    shares_windows: ClassVar[bool] = False

    def __init__(self, feature_width: int = 2048, **options: Any) -> None:
        super().__init__()
        self.options: Mapping[str, Any] = {"feature_width": feature_width, **options}
        self.inputs = Inputs(features=feature_width)
        self.card: Mapping[str, Any] = NOTHING
        self.checkpoint_sha256: str | None = None

    def forward(self, features: Tensor) -> HPSOutput:
        """Features (B, T, F) -> bodies, T' = T or 1."""
        raise NotImplementedError

    def forward_windows(self, frames: Tensor, rows: Tensor) -> HPSOutput:
        """`forward(frames[rows])` in evaluation mode, where `shares_windows`: frames (U, F), rows (W, T) of them."""
        output: HPSOutput = self(frames[rows])
        return output

    def forward_train(self, batch: Batch) -> HPSOutput:
        """What the losses see; differs from `forward` where a loss needs rows that are no predictions."""
        output: HPSOutput = self(batch.features)
        return output

    @classmethod
    def recognise(cls, shapes: Mapping[str, tuple[int, ...]]) -> Mapping[str, Any] | None:
        """Options of the network whose released checkpoint has entries of these names and shapes, or None."""
        return None

    def released_names(self) -> Mapping[str, str]:
        """Names of this network's entries in released checkpoints -> in its own state dict."""
        return {name: name for name in self.state_dict()}

    @classmethod
    def released_extras(cls) -> Mapping[str, tuple[int, ...]]:
        """Entries of released checkpoints that belong to another network, all there or none: name -> shape."""
        return {}

    def accepts(self, rule: WindowRule) -> bool:
        """Whether the system can predict under a protocol's window rule; if not, it keeps its own `context`."""
        if self.inputs.images is not None and rule.length != self.context.length:
            return False  # crops are cut for the windows that it was made for, and no others
        return rule.edges != "zero-image"

    def predict(self, clip: ClipInput) -> Prediction:
        """Bodies of one track's frames, under the clip's window rule where the system accepts it, else its own.

        Raises:
            FeatureMismatch: the clip has no features, or features of another width.
        """
        rule, _ = choose_windows(self, clip.windows)
        return predict_windows(self, clip, rule)


def choose_windows(
    system: Any, rule: WindowRule | None
) -> tuple[WindowRule | None, Literal["protocol", "system"]]:
    """The window rule that a system predicts under, and whose it is.

    Args:
        system: any system; one without `accepts` always keeps its own context.
        rule: the protocol's, or None.
    """
    accepts = getattr(system, "accepts", None)
    if rule is not None and accepts is not None and accepts(rule):
        return rule, "protocol"
    return system.context, "system"


@torch.no_grad()
def predict_windows(system: FeatureSystem, clip: ClipInput, rule: WindowRule | None) -> Prediction:
    """Slide a network over a track.

    Rows that several windows predict are those of the first window; rows come out in increasing order.

    Raises:
        FeatureMismatch: the clip lacks an input that the system reads, or has one of another width.
    """
    streams = streams_of(system.name, system.inputs, clip)
    cut = rule_windows(clip.length, rule or WindowRule(length="track", stride="track"))
    training = system.training
    system.eval()
    try:
        parts = [_run(system, streams, group, rule) for group in _groups(system, cut, clip.length, rule)]
    finally:
        system.train(training)
    if not parts:
        return _nothing(system, clip)
    rows = np.concatenate([rows for rows, _, _ in parts])
    _, order = np.unique(rows, return_index=True)
    arrays = {
        name: np.concatenate([part[name] for _, part, _ in parts])[order]
        for name in PREDICTED_FIELDS
        if name in parts[0][1]
    }
    return Prediction(rows=rows[order], joint_set=parts[0][2], **arrays)


def _groups(
    system: FeatureSystem, cut: list[Window], n: int, rule: WindowRule | None
) -> Iterator[tuple[Window, ...]]:
    most = frames_per_batch(system.inputs, FRAMES_PER_BATCH)
    size = max(1, most // max(_length(rule, n), 1))
    if rule is not None and _shares(system, rule):
        size = max(size, windows_at_once(rule, most))
    for first in range(0, len(cut), size):
        yield tuple(cut[first : first + size])


def _shares(system: FeatureSystem, rule: WindowRule) -> bool:
    """Whether a system's windows go through `forward_windows`: not where a subclass has another `forward` alone."""
    if not system.shares_windows or not overlaps_much(rule):
        return False
    kind = type(system)
    owners = [next(k for k in kind.__mro__ if name in vars(k)) for name in ("forward_windows", "forward")]
    return issubclass(*owners)


def _length(rule: WindowRule | None, n: int) -> int:
    return n if rule is None or rule.length == "track" else rule.length


def _run(
    system: FeatureSystem, streams: tuple[Stream, ...], group: tuple[Window, ...], rule: WindowRule | None
) -> tuple[Array, dict[str, Array], str | None]:
    """Predicted rows of some windows, and each field of their bodies."""
    n = len(streams[0])
    length = _length(rule, n)
    seen = np.stack([window_rows(window, length=length, n=n, outside="repeat") for window in group])
    device = next(system.parameters()).device
    if rule is not None and _shares(system, rule):
        unique, places = np.unique(seen, return_inverse=True)
        frames = torch.from_numpy(streams[0][unique].astype(np.float32, copy=False)).to(device)
        output = system.forward_windows(frames, torch.from_numpy(places.reshape(seen.shape)).to(device))
    else:
        batch = [
            torch.from_numpy(stream[seen].astype(np.float32, copy=False)).to(device) for stream in streams
        ]
        output = system(*batch)
    rows, which, places = _predicted(group, length, rule)
    if _frames(output) == 1:
        places = np.zeros_like(places)
    picked = {}
    for name in PREDICTED_FIELDS:
        value = getattr(output, name)
        if value is not None:
            picked[name] = value[which, places].float().cpu().numpy()
    return rows, picked, output.joint_set


def _predicted(group: tuple[Window, ...], length: int, rule: WindowRule | None) -> tuple[Array, Array, Array]:
    """For each predicted row: the row, which window of the group predicts it, and its place in that window."""
    still = length - 1 if rule is not None and rule.predict == "last" else length // 2
    found = []
    for number, window in enumerate(group):
        rows = [window.predicted] if isinstance(window.predicted, int) else window.predicted
        static = window.first == window.last
        found += [(row, number, still if static else row - window.first) for row in rows]
    table = np.array(found, dtype=np.int64).reshape(-1, 3)
    return table[:, 0], table[:, 1], table[:, 2]


def _frames(output: HPSOutput) -> int:
    for name in PREDICTED_FIELDS:
        value = getattr(output, name)
        if value is not None:
            return int(value.shape[1])
    raise HpsbenchError("a system returned an empty HPSOutput")


def _nothing(system: FeatureSystem, clip: ClipInput) -> Prediction:
    """The prediction of a track that the rule skips: no rows, fields of the right shapes."""
    if clip.length == 0:
        return Prediction(rows=np.zeros(0, np.int64))
    own = predict_windows(system, _one_frame(clip), system.context)
    arrays = {name: getattr(own, name)[:0] for name in PREDICTED_FIELDS if getattr(own, name) is not None}
    return Prediction(rows=own.rows[:0], joint_set=own.joint_set, **arrays)


def _one_frame(clip: ClipInput) -> ClipInput:
    return replace(
        clip,
        length=1,
        frame_id=clip.frame_id[:1],
        features=None if clip.features is None else clip.features[:1],
        flow=None if clip.flow is None else clip.flow[:1],
        bbox_cxcywh=None if clip.bbox_cxcywh is None else clip.bbox_cxcywh[:1],
        keypoints2d=None if clip.keypoints2d is None else clip.keypoints2d[:1],
    )
