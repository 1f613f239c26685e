"""Human3.6M's `metadata.xml`: cameras, names of recordings, and what a damaged file is called."""

import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hpsbench.errors import BrokenFile, MissingRawFiles
from hpsbench.geometry.cameras import project_h36m, world_to_camera
from hpsbench.recipes.readers._h36m_metadata import read_metadata

RAW: dict[str, Any] = runpy.run_path(str(Path(__file__).parents[1] / "raw_h36m.py"))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    RAW["write_metadata"](tmp_path / "metadata.xml")
    return tmp_path / "metadata.xml"


def test_every_subject_has_its_own_cameras(path: Path) -> None:
    metadata = read_metadata(path)
    assert list(metadata.cameras) == RAW["CAMERAS"]
    for subject in (1, 9, 11):
        points = RAW["world"](subject, 3, 1, 2)
        for number, name in enumerate(RAW["CAMERAS"]):
            camera = metadata.camera(subject, name)
            moved = world_to_camera(points / 1000, camera.extrinsics)
            np.testing.assert_allclose(moved, RAW["to_camera"](points, subject, number) / 1000, atol=1e-9)
            pixels = project_h36m(moved, camera.intrinsics, camera.distortion)
            np.testing.assert_allclose(pixels, RAW["project"](moved, number), atol=1e-6)
            fx, fy, cx, cy, *lens = RAW["intrinsics"](number)
            np.testing.assert_allclose(camera.intrinsics, [[fx, 0, cx], [0, fy, cy], [0, 0, 1]])
            np.testing.assert_allclose(camera.distortion, lens)


def test_angles_turn_about_x_then_y_then_z(tmp_path: Path) -> None:
    """R = Rx(a) Ry(b) Rz(c), worked by hand for quarter turns; the centre is turned and negated."""
    numbers = np.zeros(300)
    numbers[6 * (11 * 2 + 4) :][:6] = [np.pi / 2, 0, np.pi / 2, 1000, 2000, 3000]
    RAW["write_metadata"](tmp_path / "m.xml", {"w0": f"[{' '.join(map(str, numbers))}]"})
    extrinsics = read_metadata(tmp_path / "m.xml").camera(5, RAW["CAMERAS"][2]).extrinsics
    want = [[0, -1, 0, 2], [0, 0, -1, 3], [1, 0, 0, -1], [0, 0, 0, 1]]
    np.testing.assert_allclose(extrinsics, want, atol=1e-12)


def test_rows_beyond_the_sixteen_actions_name_no_recordings(path: Path) -> None:
    text = path.read_text()
    extra = "".join(f"<td>{cell}</td>" for cell in ("2", "1", *["Directions 9"] * 11))
    path.write_text(text.replace("</mapping>", f"<tr>{extra}</tr></mapping>"))
    assert read_metadata(path).names[1, 2, 1] == "Directions 1"


def test_recordings_go_by_their_base_names(path: Path) -> None:
    metadata = read_metadata(path)
    assert metadata.recording(1, "Directions 1") == (2, 1)
    assert metadata.recording(1, "Directions") == (2, 2)
    assert metadata.recording(9, "SittingDown") == (
        10,
        1,
    )  # the one subject whose name without suffix comes first
    assert metadata.recording(11, "Phoning 2") == (6, 2)
    assert metadata.recording(11, "Phoning 3") == (6, 1)
    assert metadata.recording(5, "WalkDog") == (15, 2)
    with pytest.raises(BrokenFile, match="S5 has no recording 'WalkingDog'"):
        metadata.recording(5, "WalkingDog")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"w0": ""}, "has no w0"),
        ({"w0": "[1 2 3]"}, "w0 should be 300 numbers, found 3"),
        ({"w0": "[1 x]"}, "w0 is not a list of numbers"),
        ({"mapping": ""}, "has no mapping"),
        (
            {"mapping": "<tr><td>2</td><td>1</td><td>Directions</td></tr>"},
            "does not begin with a row of subjects",
        ),
        ({"dbcameras": "<index2id><td>1</td></index2id>"}, "lists 1 cameras, expected 4"),
    ],
)
def test_a_file_without_one_of_its_parts_names_it(changes: dict[str, str], message: str, path: Path) -> None:
    RAW["write_metadata"](path, changes)
    with pytest.raises(BrokenFile, match=message) as caught:
        read_metadata(path)
    assert "metadata.xml" in str(caught.value)


def test_what_is_no_xml_is_broken_and_what_is_absent_is_missing(path: Path) -> None:
    whole = path.read_bytes()
    for content in (whole[:-30], whole.replace(b"Directions", b"Direct\xefons"), b"\x00\x01"):
        path.write_bytes(content)
        with pytest.raises(BrokenFile, match="not a readable XML file"):
            read_metadata(path)
    with pytest.raises(MissingRawFiles, match="Release-v1"):
        read_metadata(path.with_name("other.xml"))


def test_names_of_cameras_and_subjects_are_checked(path: Path) -> None:
    with pytest.raises(BrokenFile, match="has no camera 1 of S9; cameras are 54138969"):
        read_metadata(path).camera(9, "1")
    with pytest.raises(BrokenFile, match="of S12"):
        read_metadata(path).camera(12, "54138969")
