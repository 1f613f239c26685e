"""A live viewer in the browser: one track of a store, the annotated body and a predicted one beside it."""

import importlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hpsbench.bodies.joints import JointSet
from hpsbench.bodies.smpl import load_bodies
from hpsbench.errors import HpsbenchError, MissingData, UnknownName, UsageError
from hpsbench.features.frames import Frames
from hpsbench.pipeline.extract import raw_folder
from hpsbench.predictions.files import load_predictions
from hpsbench.predictions.predictions import Predictions
from hpsbench.reports.drawing import PRED_COLOUR, TARGET_COLOUR, Colour
from hpsbench.reports.material import PREDICTION_FILES
from hpsbench.reports.scene import centred_vertices, pelvis_of
from hpsbench.reports.skeletons import bones
from hpsbench.results.result import find_result
from hpsbench.store.reader import ClipStore
from hpsbench.types import FloatArray, IntArray

# Metres between the annotated and the predicted body.
BESIDE = 1.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    """One body over the frames of a track, y up, pelvis at the origin.

    Attributes:
        name: `ground truth` or the system.
        colour: RGB.
        shown: (T,) bool, frames that have this body.
        points: (T, N, 3) vertices or joints, metres.
        faces: (F, 3) of a mesh, or None for a skeleton.
        bones: pairs of joints of a skeleton.
    """

    name: str
    colour: Colour
    shown: Any
    points: FloatArray
    faces: IntArray | None = None
    bones: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """What the live viewer shows.

    Attributes:
        track: its name.
        frame_id: (T,) frames.
        fps: frames per second of the dataset.
        bodies: ground truth first, where there is one.
        image: row of the track -> (S, S, 3) picture, or None.
        notes: what is not shown and why.
    """

    track: str
    frame_id: IntArray
    fps: float
    bodies: tuple[Body, ...]
    image: Callable[[int], Any]
    notes: tuple[str, ...]


def find_predictions(name: str, root: Path) -> Path:
    """The predictions of a run: a file, a folder that holds some, or the name of a run.

    Raises:
        MissingData: there are none.
    """
    path = Path(name)
    if path.suffix in (".zarr", ".npz", ".parquet") and path.exists():
        return path
    folder = path if path.is_dir() else find_result(name, root)
    for file in PREDICTION_FILES:
        if (folder / file).exists():
            return folder / file
    raise MissingData(
        f"{folder}: no predictions ({', '.join(PREDICTION_FILES)}); 'hpsbench predict --out "
        f"{folder / PREDICTION_FILES[0]}' writes them"
    )


def find_track(store: ClipStore, clip: str) -> tuple[str, IntArray]:
    """A track, by its name, by the id of one of its clips, or by a sequence of one track: name and rows.

    Raises:
        UnknownName: there is none; the message suggests the nearest.
        UsageError: a sequence of several tracks.
    """
    clips = store.clips
    for column in ("clip_id", "track", "sequence"):
        own = clips[clips[column] == clip]
        tracks = own["track"].unique()
        if len(tracks) > 1:
            raise UsageError(
                f"{clip!r} is a sequence of {len(tracks)} tracks; name one: {', '.join(map(str, tracks))}"
            )
        if len(own):
            spans = zip(own["start"].tolist(), own["length"].tolist(), strict=True)
            return str(tracks[0]), np.concatenate([np.arange(a, a + n) for a, n in spans])
    raise UnknownName(f"clip of {store.location}", clip, clips["track"])


def make_view(
    store: ClipStore, clip: str, *, root: Path, pred: str | None = None, view: str | None = None
) -> View:
    """Everything that the live viewer shows of a track.

    Args:
        store: a prepared store.
        clip: track, clip id, or sequence of one track.
        root: data root, for body models and images.
        pred: predictions, as `find_predictions` takes them.
        view: whose crops are shown; None: the store's default.

    Raises:
        UnknownName, UsageError: no such clip, or no single one.
        MissingData: no predictions there, or none of this track, or nothing at all to show.
    """
    track, rows = find_track(store, clip)
    numbers = np.asarray(store.frames["frame_id"].take(rows), np.int64)
    notes: list[str] = []
    bodies = [body for body in (_truth(store, root, rows, notes),) if body is not None]
    if pred is not None:
        bodies.append(
            _predicted(load_predictions(find_predictions(pred, root)), store, root, track, numbers, rows)
        )
    if not bodies:
        raise MissingData(f"{store.location}: nothing to show of {track}; " + "; ".join(notes))
    fps = float(store.clips.loc[store.clips["track"] == track, "fps"].iloc[0])
    image = _images(store, root, view or str(store.attrs.get("default_view")), rows, notes)
    return View(track=track, frame_id=numbers, fps=fps, bodies=tuple(bodies), image=image, notes=tuple(notes))


def _truth(store: ClipStore, root: Path, rows: IntArray, notes: list[str]) -> Body | None:
    fields = store.frames
    valid = np.ones(len(rows), bool)
    if {"full_pose", "betas"} <= set(fields):
        try:
            bodies = load_bodies(root, store.synthetic)
            bodies.require(genders=["neutral"])
            body = bodies.neutral
        except HpsbenchError as error:
            notes.append(f"skeletons instead of meshes: {error}")
        else:
            pose, betas = (np.asarray(fields[n].take(rows), np.float32) for n in ("full_pose", "betas"))
            if "has_smpl" in fields:
                valid = np.asarray(fields["has_smpl"].take(rows), bool)
            vertices = _upright(centred_vertices(body, np.nan_to_num(pose), np.nan_to_num(betas)))
            faces = np.asarray(body.faces)
            return Body(name="ground truth", colour=TARGET_COLOUR, shown=valid, points=vertices, faces=faces)
    if "joints3d" in fields:
        from hpsbench.evaluation.rows import field_joint_set

        joints = np.asarray(fields["joints3d"].take(rows), np.float64)
        return _skeleton("ground truth", TARGET_COLOUR, joints, field_joint_set(store, "joints3d"))
    notes.append("the store has neither bodies nor 3D joints")
    return None


def _predicted(
    predictions: Predictions, store: ClipStore, root: Path, track: str, numbers: IntArray, rows: IntArray
) -> Body:
    places = predictions.locate(np.full(len(numbers), track), numbers, rows)
    known = places >= 0
    if not known.any():
        raise MissingData(f"the predictions have no frame of track {track}")
    name = str(predictions.attrs.get("system") or "prediction")
    taken, arrays = np.where(known, places, places[known][0]), predictions.arrays
    if "betas" in arrays:
        bodies = load_bodies(root, store.synthetic)
        pose = predictions.take("rotmat" if "rotmat" in arrays else "axis_angle", taken)
        vertices = centred_vertices(bodies.neutral, pose.astype(np.float32), predictions.take("betas", taken))
        faces = np.asarray(bodies.neutral.faces)
        return Body(name=name, colour=PRED_COLOUR, shown=known, points=_upright(vertices), faces=faces)
    if "joints3d" in arrays:
        from hpsbench.bodies.joints import get_joint_set

        joints = np.asarray(predictions.take("joints3d", taken), np.float64)
        made = _skeleton(name, PRED_COLOUR, joints, get_joint_set(str(predictions.attrs["joint_set"])))
        return Body(**{**{k: getattr(made, k) for k in made.__slots__}, "shown": known & made.shown})
    raise UsageError("predictions of vertices alone cannot be shown live; give poses or joints")


def _skeleton(name: str, colour: Colour, joints: FloatArray, joint_set: JointSet) -> Body:
    centred = _upright(joints - pelvis_of(joints, joint_set)[:, None])
    shown = np.isfinite(centred).all(axis=(1, 2))
    return Body(name=name, colour=colour, shown=shown, points=centred, bones=tuple(bones(joint_set)))


def _upright(points: FloatArray) -> FloatArray:
    """Camera coordinates (y down, z away) as y up, z towards the viewer."""
    return np.asarray(points * np.array([1.0, -1.0, -1.0]), np.float32)


def _images(
    store: ClipStore, root: Path, view: str, rows: IntArray, notes: list[str]
) -> Callable[[int], Any]:
    try:
        frames = Frames(store, raw_folder(store, root), view)
    except (HpsbenchError, KeyError) as error:
        notes.append(f"no images: {error}")
        return lambda _: None

    def image(index: int) -> Any:
        try:
            return frames.crop(int(rows[index]), 256)
        except (HpsbenchError, OSError):
            return None

    return image


def first_with_all(view: View) -> int:
    """The first place in a track where every body is there; 0 where there is none."""
    together = np.all([body.shown for body in view.bodies], axis=0)
    return int(together.argmax())


def load_viser() -> Any:
    """The package that serves the viewer.

    Raises:
        MissingData: it is not installed.
    """
    try:
        return importlib.import_module("viser")
    except ImportError as error:
        raise MissingData(
            "the live viewer needs the package viser, which is not installed: pip install 'hpsbench[pictures]'. "
            "'hpsbench report' has a 3D viewer that needs nothing"
        ) from error


class LiveView:
    """Shows a view in a viser server.

    Args:
        server: a `viser.ViserServer`.
        view: what to show.
    """

    def __init__(self, server: Any, view: View) -> None:
        self.server, self.view = server, view
        server.scene.set_up_direction("+y")
        server.scene.add_grid("/floor", width=6.0, height=4.0, plane="xz", position=(0.0, -1.1, 0.0))
        if hasattr(server, "initial_camera"):  # viser 0.2 has none and looks from its own place
            server.initial_camera.position = (0.0, 0.4, 3.4)
            server.initial_camera.look_at = (0.0, 0.0, 0.0)
        last = len(view.frame_id) - 1
        server.gui.add_markdown(f"**{view.track}**")
        start = first_with_all(view)
        self.frame = server.gui.add_slider("frame", min=0, max=max(last, 1), step=1, initial_value=start)
        self.playing = server.gui.add_checkbox("play", initial_value=False)
        self.speed = server.gui.add_slider("speed", min=0.1, max=2.0, step=0.1, initial_value=1.0)
        self.over = server.gui.add_checkbox("one over the other", initial_value=False)
        self.shown = [server.gui.add_checkbox(body.name, initial_value=True) for body in view.bodies]
        self.number = server.gui.add_text("frame of the dataset", initial_value="", disabled=True)
        order = [*range(start, last + 1), *range(start)]
        first = next((picture for at in order if (picture := view.image(at)) is not None), None)
        self.nothing = None if first is None else np.full_like(first, 128)
        self.image = None if first is None else server.gui.add_image(first, label="image")
        for handle in (self.frame, self.over, *self.shown):
            handle.on_update(lambda _: self.show())
        self.show()

    def show(self) -> None:
        """Put the frame of the slider on the screen."""
        at = min(int(self.frame.value), len(self.view.frame_id) - 1)
        absent = [body.name for body in self.view.bodies if not body.shown[at]]
        self.number.value = f"{int(self.view.frame_id[at])}" + (
            f", no {', no '.join(absent)}" if absent else ""
        )
        middle = (len(self.view.bodies) - 1) / 2
        for place, (body, tick) in enumerate(zip(self.view.bodies, self.shown, strict=True)):
            aside = 0.0 if self.over.value else (place - middle) * BESIDE
            self._put(f"/body{place}", body, at, aside, bool(tick.value) and bool(body.shown[at]))
        if self.image is not None:
            picture = self.view.image(at)
            self.image.image = self.nothing if picture is None else picture

    def play(self, *, seconds: float | None = None) -> None:
        """Serve, and play where the box is ticked, until interrupted (or for so many seconds)."""
        begun = time.monotonic()
        while seconds is None or time.monotonic() - begun < seconds:
            if self.playing.value:
                self.frame.value = (int(self.frame.value) + 1) % len(self.view.frame_id)
                self.show()
            time.sleep(1.0 / max(self.view.fps * float(self.speed.value), 1.0))

    def _put(self, name: str, body: Body, at: int, aside: float, visible: bool) -> None:
        points = body.points[at] + np.array([aside, 0.0, 0.0], np.float32)
        scene = self.server.scene
        if body.faces is not None:
            scene.add_mesh_simple(name, vertices=points, faces=body.faces, color=body.colour, visible=visible)
            return
        lines = np.stack([points[list(pair)] for pair in body.bones]).astype(np.float32)
        colours = np.broadcast_to(np.asarray(body.colour, np.uint8), lines.shape)
        scene.add_line_segments(name, points=lines, colors=colours, line_width=5.0, visible=visible)
