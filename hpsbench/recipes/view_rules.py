"""How a view of a dataset selects rows and makes boxes: the rules that recipes declare under `views`.

A code base that needs another rule gets one more named value here and one reading of it in `recipes/views.py`.
"""

from functools import cached_property
from typing import Annotated, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, model_validator

# Of every table of a recipe: unknown keys and values of another type are errors.
STRICT = ConfigDict(extra="forbid", frozen=True, strict=True)


class _Strict(BaseModel):
    model_config = STRICT


class NoBox(_Strict):
    """The dataset has no images, or the view no boxes."""

    rule: Literal["none"]


# Which keypoints count: those whose confidence is above a threshold; those with x or y (x and y) other than zero.
Seen: TypeAlias = Literal["confidence", "x-or-y", "x-and-y"]


class TightBox(_Strict):
    """Square about the smallest box of the keypoints of one frame; side = factor x its longer side.

    Attributes:
        joints: only these keypoints count; empty: all.
        joint_set: only keypoints that this joint set has too count; absent: all.
        seen: which keypoints count.
        threshold: for `confidence`: keypoints with a higher one count.
    """

    rule: Literal["tight"]
    joints: list[str] = []
    joint_set: str | None = None
    seen: Seen = "confidence"
    threshold: float = 0.0
    factor: float = 1.0

    @model_validator(mode="after")
    def _one_choice(self) -> "TightBox":
        if self.joints and self.joint_set is not None:
            raise ValueError("joints or joint_set, not both")
        return self


class GivenBox(_Strict):
    """Square about the dataset's own box (field `bbox_xyxy`) of one frame; side = factor x its longer side.

    Attributes:
        otherwise: the rule for tracks without a single given box; absent: they have no box.
    """

    rule: Literal["given"]
    factor: float = 1.0
    otherwise: TightBox | None = None


class FixedBox(_Strict):
    """The same box in every frame, for images that are crops already.

    Attributes:
        cxcywh: centre and size in pixels.
    """

    rule: Literal["fixed"]
    cxcywh: Annotated[list[float], Field(min_length=4, max_length=4)]


class SmoothBox(_Strict):
    """Square boxes smoothed along the track, as VIBE, TCMR and HMMR make them (`recipes/boxes.py`).

    Frames before the first and after the last one that has the view's `flags` (an image, say) take no part: the
    released code smooths over the images that there are.

    Attributes:
        threshold: keypoints with a higher confidence count.
        median: width of the median filter, in frames.
        sigma: of the Gaussian filter, in frames.
        factor: side = factor x the (smoothed) diagonal of the keypoints' box.
        ends: before the first and after the last frame with a box: `trim` leaves the frames out of the view,
            `hold` repeats the nearest box.
        joint_set: only keypoints that this joint set has too count; absent: all.
        over: smoothed over `all` frames of the track, or over the `thinned` ones alone (where frames are thinned by
            their numbers); the others then have no box.
    """

    rule: Literal["smoothed"]
    threshold: float
    median: int = 11
    sigma: float
    factor: float
    ends: Literal["trim", "hold"] = "trim"
    joint_set: str | None = None
    over: Literal["all", "thinned"] = "all"

    @cached_property
    def smoothing(self) -> str:
        """What decides about the smoothed centres and scales, as text: not the factor, and not the ends."""
        return self.model_dump_json(exclude={"ends", "factor"})


class Visible(_Strict):
    """Keep frames in which more than `more_than` of these keypoints count.

    Attributes:
        joints: names in the dataset's keypoint set.
        seen: which keypoints count.
        threshold: for `confidence`: keypoints with a higher one count.
    """

    joints: Annotated[list[str], Field(min_length=1)]
    seen: Seen = "confidence"
    threshold: float = 0.0
    more_than: int


class Inside(_Strict):
    """Keep frames in which all these keypoints lie in the image: 0 <= x < width, 0 <= y < height."""

    joints: Annotated[list[str], Field(min_length=1)]


class Thin(_Strict):
    """Keep every n-th frame of a track, or of the dataset.

    Attributes:
        every: n.
        splits: where this holds; empty: everywhere.
        counted: among the frames of a track that the other rules `kept`, beginning with the first of them; among those
            of the whole `dataset`, track after track in the recipe's order (`pipeline/thinning.py`); or by the frames'
            own `numbers`, before any other rule but that of the camera: `first`, `first` + n, `first` + 2n ...
        first: number of a recording's first frame, for `numbers`.
    """

    every: Annotated[int, Field(ge=1)]
    splits: list[str] = []
    counted: Literal["kept", "dataset", "numbers"] = "kept"
    first: int = 0


class ViewRule(_Strict):
    """How one code base selects rows and boxes of this dataset.

    Attributes:
        source: the public code or paper that the rule was read from.
        crop_scale: the image crop's side is `crop_scale` x the box's side; absent where the view has no boxes.
        box: how boxes are made.
        boxless: frames without a box: left out, or kept.
        cameras: only tracks of these cameras, and tracks of no named camera; empty: all.
        without: tracks that carry one of these remarks (clip column `remarks`, separated by commas) are left out.
        flags: fields that must be true, beside `valid`.
        valid: whether rows must have the dataset's own `valid` flag.
        inside: out-of-image rule, if any.
        visible: visibility rule, if any.
        thin: rate, if it is lower than the dataset's.
        min_frames: tracks of which fewer frames are left are left out as a whole.
        note: what is special about it.
    """

    source: str
    crop_scale: float | None = None
    box: Annotated[NoBox | TightBox | GivenBox | FixedBox | SmoothBox, Field(discriminator="rule")]
    boxless: Literal["drop", "keep"] = "drop"
    cameras: list[str] = []
    without: list[str] = []
    flags: list[str] = []
    valid: bool = False
    inside: Inside | None = None
    visible: Visible | None = None
    thin: Thin | None = None
    min_frames: int = 0
    note: str = ""

    @cached_property
    def selection(self) -> str:
        """What decides about frames and boxes, as text: equal for views that differ in their crops alone."""
        return self.model_dump_json(exclude={"source", "note", "crop_scale"})

    @cached_property
    def box_selection(self) -> str:
        """What decides about boxes alone, as text: equal for rules that make the same boxes of a track."""
        flags = self.flags if self.box.rule == "smoothed" else []
        return f"{self.box.model_dump_json()} {self.thin and self.thin.model_dump_json()} {flags}"

    @cached_property
    def inside_selection(self) -> str:
        """The out-of-image rule as text."""
        return f"inside {self.inside and self.inside.model_dump_json()}"

    @model_validator(mode="after")
    def _boxes_are_for_crops(self) -> "ViewRule":
        if (self.crop_scale is None) != (self.box.rule == "none"):
            raise ValueError("crop_scale belongs to a view with boxes, and only to it")
        over = getattr(self.box, "over", "all")
        if over == "thinned" and (self.thin is None or self.thin.counted != "numbers"):
            raise ValueError('box.over = "thinned" needs thin.counted = "numbers"')
        if self.min_frames > 1 and self.thin is not None and self.thin.counted == "dataset":
            raise ValueError(
                'min_frames counts frames of a track, thin.counted = "dataset" does not; use one of them'
            )
        return self
