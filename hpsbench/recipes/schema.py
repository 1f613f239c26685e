"""What a dataset recipe says: pydantic models of `recipes/datasets/<key>.toml`. Field by field: `recipes/README.md`."""

import hashlib
import json
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, BeforeValidator, Field, ValidationError, model_validator

from hpsbench.bodies.joints import get_joint_set
from hpsbench.errors import BrokenFile, UnknownName, UsageError
from hpsbench.recipes.view_rules import STRICT, ViewRule


class _Strict(BaseModel):
    model_config = STRICT


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


Globs: TypeAlias = Annotated[list[str], BeforeValidator(_as_list), Field(min_length=1)]
Problem: TypeAlias = Literal[
    "missing-files", "extra-files", "unreadable", "image-missing", "count", "non-finite", "reprojection", "limb-length",
    "joint-range", "skipped",
]  # fmt: skip


class Body(_Strict):
    """The body model behind the dataset's parameters."""

    model: Literal["smpl", "smplh", "smplx", "none"]
    num_betas: int = 10
    gendered: bool = False


class Source(_Strict):
    """How the recorded values are to be read.

    Attributes:
        fps: frames per second of the store's rows; absent where it differs from track to track or is unknown.
        coordinates: frame of `full_pose`'s root and of `joints3d`; `image` where the dataset is 2D. Each field's own
            `frame` is in `fields`.
        length_unit: always metres in the store.
        up: the axis that points up in the world frame, where the dataset has one.
    """

    fps: float | None = None
    coordinates: Literal["camera", "world", "image"]
    length_unit: Literal["m"] = "m"
    up: str | None = None


class Split(_Strict):
    """Which files belong to a split, as the authors define it.

    Attributes:
        glob: one pattern or several under the raw root; files are taken in alphabetical order.
        take: of several patterns `all` count, or only the `first` that matches anything (other layouts of the same).
        told_by: whether a file's `path` says that it belongs to this split, or the `reader`, which looks into the file
            (its function `split_of`).
        items: what one work item is: a whole `file`, or a part of it as the `reader` cuts it (its function `items_of`).
        sequences, tracks: how many there should be, where that is known.
    """

    glob: Globs
    take: Literal["all", "first"] = "all"
    told_by: Literal["path", "reader"] = "path"
    items: Literal["file", "reader"] = "file"
    sequences: int | None = None
    tracks: int | None = None


class Files(_Strict):
    """Raw files beside those that the reader parses: images, videos.

    Attributes:
        glob: patterns under the raw root.
        required: whether annotations are of no use without them.
        hashed: whether values in them end up in the store (calibrations, say); their content is part of the raw manifest.
        note: what they are for.
    """

    glob: Globs
    required: bool = False
    hashed: bool = False
    note: str = ""


class FieldFacts(_Strict):
    """What a field of the store holds; written to its attributes.

    Attributes:
        unit: `m`, `px`, `rad`, or None for flags and numbers.
        frame: coordinate frame, where the field has one.
        joint_set: id of the joint set along the second axis; or several, one for each raw layout, of different sizes:
            the number of joints that the reader yields tells which (`joint_set_of`).
        optional: some tracks, or single frames or joints of them, may lack it; they are NaN.
        note: what a user has to know to use it.
        false_means: for flags: the reason under which views count the frames in which it is false.
        projected_within: for keypoints that are projections of `joints3d`: pixels by which they differ at most, on average
            over a frame's joints; absent where they were detected.
    """

    unit: Literal["m", "px", "rad"] | None = None
    frame: Literal["camera", "world", "image"] | None = None
    joint_set: str | list[str] | None = None
    optional: bool = False
    note: str = ""
    false_means: str | None = None
    projected_within: float | None = None

    @model_validator(mode="after")
    def _joint_sets_differ(self) -> "FieldFacts":
        sizes = [len(get_joint_set(name)) for name in self.joint_sets]
        if len(set(sizes)) != len(sizes):
            raise ValueError(
                f"joint_set: {', '.join(self.joint_sets)} have {sizes} joints, which tells none apart"
            )
        return self

    @property
    def joint_sets(self) -> list[str]:
        """Ids of the joint sets that the field may be in; none where it holds no joints."""
        if self.joint_set is None:
            return []
        return [self.joint_set] if isinstance(self.joint_set, str) else self.joint_set

    def joint_set_of(self, joints: int) -> str | None:
        """Id of the joint set of an array of so many joints; None where the field names none of that size."""
        return next((name for name in self.joint_sets if len(get_joint_set(name)) == joints), None)


class Expected(_Strict):
    """A count that the complete dataset should give, and who says so.

    Attributes:
        what: what is counted; `kept` counts the rows of a view, `valid` those with the flag.
        split: of one split, or of all.
        view: for `kept`.
        value: the count.
        source: where the number is published.
        certain: False for numbers that were reported in passing; they are shown, and no error if they differ.
        where: clip column -> values: the count is of clips that have one of them in each, and there must be such clips.
    """

    what: Literal["sequences", "tracks", "rows", "valid", "kept"]
    value: int
    source: str
    split: str | None = None
    view: str | None = None
    certain: bool = True
    where: dict[str, list[str]] = {}


class Lengths(_Strict):
    """How many rows single tracks of the complete dataset should have, and who says so.

    Attributes:
        column: clip column that tells tracks apart for this; several tracks (cameras) may share a value.
        rows: value of that column -> rows of each such track.
        source: where the numbers are published.
        where: clip column -> values: the numbers hold for clips that have one of them in each.
        certain: False for numbers that were reported in passing.
    """

    column: str
    rows: dict[str, int]
    source: str
    where: dict[str, list[str]] = {}
    certain: bool = True


class Defect(_Strict):
    """A known defect or trap of the raw data.

    Attributes:
        id: short name.
        text: what is wrong and how this recipe deals with it.
        explains: problems found by `hpsbench verify` that it may be the cause of.
    """

    id: str
    text: str
    explains: list[Problem] = []


class Recipe(_Strict):
    """One dataset: access, layout, units, views, expected counts. Made by `get_recipe`.

    Attributes:
        key: what a user types; the file's name.
        reader: module in `hpsbench/recipes/readers`, or `package.module:function` elsewhere.
        access: steps to get the data, in order; `{root}` stands for the data root.
        markers: patterns of which at least one must match in the folder for it to be the dataset's raw root.
        exclude: patterns of files that match a split's glob but are no sequences.
        options: constants of the reader.
        sha256: of the recipe's content (its comments and layout do not count).
        path: the file it was read from.
    """

    key: str
    title: str
    reader: str
    homepage: str
    paper: str
    bibtex: str
    licence: str
    licence_url: str
    access: Annotated[list[str], Field(min_length=1)]
    markers: Globs
    body: Body
    source: Source
    splits: Annotated[dict[str, Split], Field(min_length=1)]
    exclude: list[str] = []
    files: dict[str, Files] = {}
    fields: Annotated[dict[str, FieldFacts], Field(min_length=1)]
    options: dict[str, Any] = {}
    views: Annotated[dict[str, ViewRule], Field(min_length=1)]
    default_view: str
    expected: list[Expected] = []
    lengths: list[Lengths] = []
    defects: list[Defect] = []
    sha256: str
    path: Path = Field(exclude=True)

    @model_validator(mode="after")
    def _names_agree(self) -> "Recipe":
        if self.default_view not in self.views:
            raise UnknownName("view", self.default_view, self.views)
        for view in self.views.values():
            for flag in view.flags:
                if flag not in self.fields:
                    raise UnknownName("field", flag, self.fields)
            for split in view.thin.splits if view.thin else []:
                if split not in self.splits:
                    raise UnknownName("split", split, self.splits)
        for expected in self.expected:
            if expected.split is not None and expected.split not in self.splits:
                raise UnknownName("split", expected.split, self.splits)
            if expected.view is not None and expected.view not in self.views:
                raise UnknownName("view", expected.view, self.views)
            if (expected.what == "kept") != (expected.view is not None):
                raise ValueError(f"expected {expected.what}: 'view' belongs to 'kept', and only to it")
        return self

    def keypoint_set(self, joints: int) -> str | None:
        """Joint set of keypoints of so many joints, if the dataset has any."""
        facts = self.fields.get("keypoints2d")
        return None if facts is None else facts.joint_set_of(joints)


def read_recipe(path: Path) -> Recipe:
    """A recipe from its TOML file.

    Raises:
        BrokenFile: not a TOML file.
        UsageError: an unknown or missing key, a value of the wrong kind, a name that does not exist.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BrokenFile(f"{path}: not a TOML file ({error})") from error
    canonical = json.dumps(content, sort_keys=True, ensure_ascii=False, default=str)
    sha256 = hashlib.sha256(canonical.encode()).hexdigest()
    try:
        recipe = Recipe(**content, sha256=sha256, path=path)
    except (ValidationError, UnknownName, TypeError) as error:
        raise UsageError(f"{path}: {_explain(error)}") from error
    if recipe.key != path.stem:
        raise UsageError(
            f"{path}: key = {recipe.key!r}, but the file is called {path.stem!r}; they must be the same"
        )
    return recipe


def _explain(error: Exception) -> str:
    if not isinstance(error, ValidationError):
        return str(error)
    lines = []
    for item in error.errors():
        where = ".".join(str(part) for part in item["loc"]) or "recipe"
        known = item["type"] == "extra_forbidden"
        lines.append(f"{where}: {'no such key; see recipes/README.md' if known else item['msg']}")
    return "; ".join(lines)
