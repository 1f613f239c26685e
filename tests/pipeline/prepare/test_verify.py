"""`verify`: raw files and store against the recipe, with likely causes."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hpsbench.errors import MissingRawFiles, UnknownName
from hpsbench.pipeline.prepare import prepare
from hpsbench.pipeline.verify import verify
from hpsbench.recipes.catalog import get_recipe


@pytest.mark.parametrize("key", ["3dpw", "amass"])
def test_sound_synthetic_data_passes(key: str, make_root: Callable[..., Path]) -> None:
    root = make_root()
    before = verify(key, root)
    assert before.ok
    assert before.store is None
    prepare(key, root)
    report = verify(key, root)
    assert report.ok
    assert report.synthetic
    assert report.counts == []
    assert report.store is not None
    kinds = {problem.kind for problem in report.problems}
    assert kinds == ({"extra-files"} if key == "amass" else set())
    json.dumps(report.to_json_dict())


def test_real_data_is_counted_against_the_recipe(make_root: Callable[..., Path]) -> None:
    root = make_root(own=True)
    (root / "raw/3dpw/hpsbench-synthetic.json").unlink()
    prepare("3dpw", root, accept_licence=True)
    report = verify("3dpw", root)
    assert not report.ok
    assert not report.synthetic
    counts = {(c["split"], c["what"], c["view"]): (c["found"], c["value"]) for c in report.counts}
    assert counts[("test", "tracks", None)] == (4, 37)
    assert counts[(None, "tracks", None)] == (8, 87)
    assert counts[("test", "kept", "spin")] == (77, 35515)
    assert counts[("test", "kept", "tcmr")] == (72, 34561)
    severity = {problem.where: problem.severity for problem in report.problems if problem.kind == "count"}
    assert (severity["test kept spin"], severity["test kept tcmr"]) == ("error", "warning")
    missing = [problem for problem in report.problems if problem.kind == "missing-files"]
    assert len(missing) == 3
    assert any("validation" in cause for cause in missing[0].causes)


def test_real_files_are_counted_before_there_is_a_store(
    make_root: Callable[..., Path], tmp_path: Path
) -> None:
    root = make_root(own=True)
    (root / "raw/3dpw/hpsbench-synthetic.json").unlink()
    text = get_recipe("3dpw").path.read_text()
    text = text[: text.index("[[expected]]")]
    for split, what, value in (
        ("", "sequences", 9),
        ("", "rows", 5),
        ("test", "tracks", 4),
        ("test", "sequences", 1),
    ):
        text += f'[[expected]]\nwhat = "{what}"\nvalue = {value}\nsource = "test"\n'
        text += f'split = "{split}"\n' if split else ""
    text += '[[expected]]\nwhat = "rows"\nvalue = 1\nsource = "test"\nwhere = { gender = ["male"] }\n'
    text += '[[expected]]\nwhat = "kept"\nview = "spin"\nvalue = 1\nsource = "test"\n'
    (tmp_path / "own" / "datasets").mkdir(parents=True)
    (tmp_path / "own" / "datasets" / "3dpw.toml").write_text(text)
    report = verify("3dpw", root, recipes=tmp_path / "own")
    assert report.store is None
    found = {(count["split"], count["what"]): count["found"] for count in report.counts}
    prepare("3dpw", root, accept_licence=True, recipes=tmp_path / "own")
    after = verify("3dpw", root, recipes=tmp_path / "own")
    wanted = {
        (count["split"], count["what"]): count["found"] for count in after.counts if count["view"] is None
    }
    # What needs the clip table waits for the store; `splits` has the number of each split's sequences already.
    assert list(found) == [(None, "sequences"), (None, "rows"), ("test", "tracks")]
    assert all(wanted[key] == number for key, number in found.items() if key != (None, "rows"))
    kinds = {problem.where: (problem.kind, problem.severity) for problem in report.problems}
    assert kinds["sequences"] == ("missing-files", "error")
    assert kinds["rows"] == ("count", "error")
    assert "test tracks" not in kinds


def test_the_count_of_another_view_is_explained_by_its_rule(
    make_root: Callable[..., Path], tmp_path: Path
) -> None:
    """As 34,561 against 35,515 frames of 3DPW: one counts frames with seven joints, one those with a valid camera."""
    root = make_root(own=True)
    (root / "raw/3dpw/hpsbench-synthetic.json").unlink()
    text = get_recipe("3dpw").path.read_text().replace("value = 35515", "value = 72")
    (tmp_path / "own" / "datasets").mkdir(parents=True)
    (tmp_path / "own" / "datasets" / "3dpw.toml").write_text(text.replace("value = 34561", "value = 77"))
    prepare("3dpw", root, accept_licence=True, recipes=tmp_path / "own")
    report = verify("3dpw", root, recipes=tmp_path / "own")
    problems = {problem.where: problem for problem in report.problems if problem.kind == "count"}
    spin = problems["test kept spin"]
    assert spin.causes[0] == (
        "77 is the count of the view tcmr, which keeps other rows (more than 6 of 12 joints seen; with a box) than spin "
        "(`valid`; with a box)"
    )
    assert "found 77, expected 72" in spin.text
    assert "camera-invalid" in spin.text.partition("the view leaves out ")[2]
    assert "too-few-visible" in problems["test kept tcmr"].text
    assert "leaves out" not in problems["test tracks"].text


def test_counts_and_lengths_may_hold_for_some_clips_only(
    make_root: Callable[..., Path], tmp_path: Path
) -> None:
    """`where` names clips by a column; lengths are told apart by another one."""
    root = make_root(own=True)
    (root / "raw/3dpw/hpsbench-synthetic.json").unlink()
    text = get_recipe("3dpw").path.read_text()
    text = text[: text.index("[[expected]]")]
    source = 'source = "test"'
    for gender, value in {"male": 99, "female": 60, "nobody": 1}.items():
        text += (
            f'[[expected]]\nwhat = "rows"\nvalue = {value}\n{source}\nwhere = {{ gender = ["{gender}"] }}\n'
        )
    text += f'[[lengths]]\ncolumn = "sequence"\n{source}\nrows = {{ courtyard_a_00 = 24, downtown_two_00 = 41 }}\n'
    text += f'[[lengths]]\ncolumn = "sequence"\n{source}\nwhere = {{ gender = ["female"] }}\n'
    text += "rows = { courtyard_a_00 = 1, outdoors_b_00 = 20 }\n"
    text += f'[[lengths]]\ncolumn = "nothing"\n{source}\nrows = {{ courtyard_a_00 = 1 }}\n'
    (tmp_path / "own" / "datasets").mkdir(parents=True)
    (tmp_path / "own" / "datasets" / "3dpw.toml").write_text(text)
    prepare("3dpw", root, accept_licence=True, recipes=tmp_path / "own")
    report = verify("3dpw", root, recipes=tmp_path / "own")
    assert [(count["found"], count["value"]) for count in report.counts] == [(129, 99), (60, 60)]
    lengths = [
        problem.text for problem in report.problems if problem.kind == "count" and problem.where == "sequence"
    ]
    (text,) = lengths
    assert "rows of 2 of 8 tracks differ" in text
    assert "downtown_two_00 has 40 instead of 41 (downtown_two_00_0)" in text


def test_raw_problems_are_named_with_causes(make_root: Callable[..., Path]) -> None:
    root = make_root(own=True)
    raw = root / "raw" / "3dpw"
    bad = raw / "sequenceFiles/test/downtown_two_00.pkl"
    bad.write_bytes(bad.read_bytes()[:2000])
    (raw / "imageFiles/courtyard_a_00/image_00003.jpg").unlink()
    shutil.rmtree(raw / "imageFiles/outdoors_b_00")
    shutil.copy(raw / "sequenceFiles/train/courtyard_a_00.pkl", raw / "sequenceFiles/loose_00.pkl")
    report = verify("3dpw", root)
    problems = {problem.kind: problem for problem in report.problems}
    assert set(problems) == {"unreadable", "image-missing", "extra-files"}
    assert problems["unreadable"].where == "sequenceFiles/test/downtown_two_00.pkl"
    assert any("Python-2" in cause for cause in problems["unreadable"].causes)
    assert problems["image-missing"].severity == "warning"
    assert "21 images are missing, the first is imageFiles/" in problems["image-missing"].text
    assert "loose_00.pkl" in problems["extra-files"].text
    assert not report.ok


def test_swapped_people_are_seen_in_the_projection(
    make_root: Callable[..., Path], raw_files: dict[str, Any]
) -> None:
    root = make_root(own=True)
    path = root / "raw/3dpw/sequenceFiles/train/outdoors_b_00.pkl"
    document = raw_files["threedpw_document"]("outdoors_b_00", 20, [{}, {}], 2)
    document["poses2d"].reverse()
    path.write_bytes(raw_files["python2_pickle"](document))
    prepare("3dpw", root)
    problems = [problem for problem in verify("3dpw", root).problems if problem.kind == "reprojection"]
    assert [problem.where for problem in problems] == ["outdoors_b_00_0", "outdoors_b_00_1"]
    assert any("swapped" in cause for cause in problems[0].causes)


def test_a_store_of_other_raw_files_is_found_out(make_root: Callable[..., Path]) -> None:
    root = make_root(own=True)
    prepare("3dpw", root)
    path = root / "raw/3dpw/sequenceFiles/train/courtyard_a_00.pkl"
    path.write_bytes(path.read_bytes() + b" ")
    (origin,) = verify("3dpw", root).problems
    assert (origin.kind, "raw files" in origin.text) == ("origin", True)


def test_what_skipping_left_out_is_reported(make_root: Callable[..., Path]) -> None:
    report = verify("amass", make_root())
    assert report.skipped == {"rate-too-low": 1, "too-short": 1}
    assert report.sequences == {"train": 3, "val": 2, "test": 1}
    (extra,) = report.problems
    assert extra.text == "no split names these, and they are not read (1): CMU/stray.npz"
    assert any("no subject" in cause for cause in extra.causes)


def test_a_store_alone_can_be_verified(make_root: Callable[..., Path]) -> None:
    root = make_root()
    prepare("3dpw", root)
    (root / "raw" / "3dpw").unlink()
    report = verify("3dpw", root)
    assert report.ok
    assert report.raw is None


def test_nothing_to_verify_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(MissingRawFiles, match="hpsbench synth"):
        verify("3dpw", tmp_path)
    with pytest.raises(UnknownName):
        verify("3dwp", tmp_path)
