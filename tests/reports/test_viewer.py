import json
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from hpsbench.bodies.joints import SMPL24
from hpsbench.cli import app
from hpsbench.errors import MissingData, UnknownName, UsageError
from hpsbench.predictions.files import save_predictions
from hpsbench.predictions.predictions import Predictions
from hpsbench.reports import viewer
from hpsbench.reports.viewer import LiveView, find_predictions, find_track, make_view
from hpsbench.store.reader import ClipStore, open_store


class Handle(SimpleNamespace):
    """A control of the page: keeps its value and who wants to know."""

    def on_update(self, call: Any) -> None:
        self.call = call


class Server:
    """Stands in for `viser.ViserServer`: keeps what is put into the scene."""

    def __init__(self) -> None:
        self.objects: dict[str, dict[str, Any]] = {}
        self.scene = SimpleNamespace(
            set_up_direction=lambda _: None,
            add_grid=lambda name, **facts: None,
            add_mesh_simple=self._put,
            add_line_segments=self._put,
        )
        self.gui = SimpleNamespace(
            add_markdown=lambda text: None,
            add_slider=self._control,
            add_checkbox=self._control,
            add_text=self._control,
            add_image=lambda image, label: Handle(image=image),
        )

    def _put(self, name: str, **facts: Any) -> None:
        self.objects[name] = facts

    def _control(self, label: str, *, initial_value: Any, **facts: Any) -> Handle:
        return Handle(value=initial_value)


@pytest.fixture(scope="module")
def store(tiny_world: Path) -> ClipStore:
    return open_store(tiny_world / "stores" / "3dpw.zarr")


@pytest.fixture
def joints_file(store: ClipStore, tmp_path: Path) -> Path:
    """Predicted joints of all frames but the first of the first track: the annotated ones, 3 cm to the right."""
    track = next(iter(store.tracks("test")))
    rows = track.rows[1:]
    predictions = Predictions(
        track=np.full(len(rows), track.track),
        frame_id=np.asarray(store.frames["frame_id"].take(rows)),
        arrays={"joints3d": store.frames["joints3d"].take(rows) + np.array([0.03, 0, 0])},
        attrs={"joint_set": "smpl24", "system": "shifted"},
    )
    return save_predictions(predictions, tmp_path / "predictions.npz")


def test_a_track_is_found_by_track_clip_or_sequence(store: ClipStore) -> None:
    row = store.clips.iloc[0]
    name, rows = find_track(store, row["track"])
    assert name == row["track"]
    assert rows[0] == row["start"]
    assert find_track(store, row["clip_id"])[0] == row["track"]
    with pytest.raises(UnknownName, match="Did you mean"):
        find_track(store, row["track"] + "x")
    people = store.clips.groupby("sequence")["track"].nunique()
    crowded = people[people > 1]
    if len(crowded):
        with pytest.raises(UsageError, match="name one"):
            find_track(store, str(crowded.index[0]))


def test_ground_truth_is_a_mesh_and_the_prediction_stands_beside_it(
    store: ClipStore, tiny_world: Path, joints_file: Path
) -> None:
    track = next(iter(store.tracks("test"))).track
    view = make_view(store, track, root=tiny_world, pred=str(joints_file))
    truth, predicted = view.bodies
    assert truth.faces is not None
    assert truth.points.shape == (len(view.frame_id), 6890, 3)
    heights = truth.points[0, :, 1]
    assert heights.max() - heights.min() > 0.8, "the body stands upright, y up"
    assert predicted.name == "shifted"
    assert predicted.points.shape[1:] == (len(SMPL24), 3)
    assert not predicted.shown[0], "a frame without a prediction has none"
    assert predicted.shown[1:].all()
    np.testing.assert_allclose(predicted.points[5, 0], 0, atol=1e-6)
    image = view.image(0)
    assert image is None or image.shape == (256, 256, 3)


def test_the_scene_follows_the_controls(store: ClipStore, tiny_world: Path, joints_file: Path) -> None:
    track = next(iter(store.tracks("test"))).track
    view = make_view(store, track, root=tiny_world, pred=str(joints_file))
    server = Server()
    live = LiveView(server, view)
    assert live.frame.value == 1, "the first frame that has both bodies"
    live.frame.value = 0
    live.show()
    first = server.objects["/body0"]["vertices"].copy()
    assert server.objects["/body1"]["visible"] is False
    assert live.number.value == f"{view.frame_id[0]}, no shifted"
    live.frame.value = 4
    live.show()
    assert server.objects["/body1"]["visible"] is True
    assert server.objects["/body1"]["points"].shape[1:] == (2, 3)
    assert not np.allclose(server.objects["/body0"]["vertices"], first)
    assert live.number.value == str(view.frame_id[4])
    aside = (
        server.objects["/body1"]["points"][..., 0].mean() - server.objects["/body0"]["vertices"][:, 0].mean()
    )
    live.over.value = True
    live.show()
    over = (
        server.objects["/body1"]["points"][..., 0].mean() - server.objects["/body0"]["vertices"][:, 0].mean()
    )
    assert aside - over == pytest.approx(viewer.BESIDE, abs=1e-4)
    live.shown[0].value = False
    live.show()
    assert server.objects["/body0"]["visible"] is False


def test_a_frame_without_an_image_is_grey(store: ClipStore, tiny_world: Path) -> None:
    track = next(iter(store.tracks("test"))).track
    view = make_view(store, track, root=tiny_world)
    pictures = {3: np.full((8, 8, 3), 200, np.uint8)}
    live = LiveView(Server(), replace(view, image=pictures.get))
    assert live.image is not None, "a later frame has one"
    assert (live.image.image == 128).all()
    live.frame.value = 3
    live.show()
    assert (live.image.image == 200).all()
    assert LiveView(Server(), replace(view, image=lambda _: None)).image is None


def test_playing_moves_the_slider(store: ClipStore, tiny_world: Path) -> None:
    track = next(iter(store.tracks("test"))).track
    live = LiveView(Server(), make_view(store, track, root=tiny_world))
    live.playing.value = True
    live.play(seconds=0.3)
    assert live.frame.value > 0


def test_predictions_are_found_in_runs_and_missed_with_advice(
    make_run, joints_file: Path, tmp_path: Path
) -> None:
    assert find_predictions(str(joints_file), tmp_path) == joints_file
    assert find_predictions(str(joints_file.parent), tmp_path) == joints_file
    run = make_run("bare")
    with pytest.raises(MissingData, match="hpsbench predict --out"):
        find_predictions(str(run), tmp_path)


def test_without_viser_the_message_says_how_to_get_it(tiny_world: Path, monkeypatch) -> None:
    def missing(name: str) -> Any:
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(viewer.importlib, "import_module", missing)
    with pytest.raises(MissingData, match=r"hpsbench\[pictures\]"):
        viewer.load_viser()


def test_the_verb_plans_without_viser(tiny_world: Path) -> None:
    path = tiny_world / "stores" / "3dpw.zarr"
    track = next(iter(open_store(path).tracks("test"))).track
    done = CliRunner().invoke(app, ["view", str(path), track, "--dry-run", "--json"])
    assert done.exit_code == 0, done.output
    assert f'"track": "{track}"' in done.output
    assert '"ground truth"' in done.output


def test_the_verb_says_where_it_is_served_and_nothing_else(tiny_world: Path, monkeypatch) -> None:
    asked: dict[str, Any] = {}

    class Busy(Server):
        def __init__(self, **asked_for: Any) -> None:
            super().__init__()
            asked.update(asked_for)
            sys.stdout.write("a box with the address\n")

        def get_port(self) -> int:
            return int(asked["port"]) + 1

    monkeypatch.setattr(viewer, "load_viser", lambda: SimpleNamespace(ViserServer=Busy))
    monkeypatch.setattr(LiveView, "play", lambda self: None)
    path = tiny_world / "stores" / "3dpw.zarr"
    track = next(iter(open_store(path).tracks("test"))).track
    done = CliRunner().invoke(app, ["view", str(path), track, "--port", "9000", "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["url"] == "http://127.0.0.1:9001", "9000 was in use"
    assert asked == {"host": "127.0.0.1", "port": 9000, "verbose": False}
