"""Finding raw data, the synthetic mark, the licence."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from hpsbench.errors import AccessStepMissing, BrokenFile, MissingData, MissingRawFiles
from hpsbench.recipes.access import find_raw, licence_accepted, require_licence
from hpsbench.recipes.catalog import get_recipe


@pytest.mark.parametrize("place", ["raw/3dpw", "3dpw", "."])
def test_raw_data_is_found_in_each_place(place: str, make_raw: Callable[..., Path], tmp_path: Path) -> None:
    raw, root = make_raw("3dpw"), tmp_path / "data"
    (root / place).parent.mkdir(parents=True, exist_ok=True)
    raw.rename(root / place)
    found = find_raw(get_recipe("3dpw"), root)
    assert found.path == root / place
    assert found.synthetic == {
        "format": "hpsbench-synthetic", "version": 1, "dataset": "3dpw", "size": "tiny", "seed": 0,
    }  # fmt: skip


def test_missing_files_say_where_and_how(tmp_path: Path) -> None:
    with pytest.raises(MissingRawFiles) as caught:
        find_raw(get_recipe("3dpw"), tmp_path)
    text = str(caught.value)
    for part in (str(tmp_path / "raw" / "3dpw"), "license.html", "sequenceFiles.zip", "hpsbench synth 3dpw"):
        assert part in text
    assert "{root}" not in text
    with pytest.raises(MissingData, match="no data root"):
        find_raw(get_recipe("3dpw"), tmp_path / "none")


def test_an_archive_unpacked_one_folder_too_deep_is_noticed(
    make_raw: Callable[..., Path], tmp_path: Path
) -> None:
    raw = make_raw("3dpw")
    raw.rename(tmp_path / "moved")
    (tmp_path / "raw" / "3dpw").mkdir()
    (tmp_path / "moved").rename(tmp_path / "raw" / "3dpw" / "3DPW")
    with pytest.raises(MissingRawFiles, match="one folder deeper, in 3DPW"):
        find_raw(get_recipe("3dpw"), tmp_path)


@pytest.mark.parametrize(
    ("mark", "message"),
    [
        ("{", "not valid JSON"),
        ("[]", "expected format"),
        (json.dumps({"format": "hpsbench-synthetic", "version": 2, "dataset": "3dpw"}), "version 1"),
        (json.dumps({"format": "hpsbench-synthetic", "version": 1, "dataset": "amass"}), "of 'amass'"),
    ],
)
def test_a_damaged_mark_is_never_taken_for_real(
    mark: str, message: str, make_raw: Callable[..., Path], tmp_path: Path
) -> None:
    (make_raw("3dpw") / "hpsbench-synthetic.json").write_text(mark)
    with pytest.raises(BrokenFile, match=message):
        find_raw(get_recipe("3dpw"), tmp_path)


def test_the_licence_is_shown_once_and_remembered(make_raw: Callable[..., Path], tmp_path: Path) -> None:
    recipe = get_recipe("3dpw")
    make_raw("3dpw", synthetic=False)
    raw = find_raw(recipe, tmp_path)
    with pytest.raises(AccessStepMissing, match="--accept-licence") as caught:
        require_licence(recipe, tmp_path, raw, accept=False)
    assert recipe.licence_url in str(caught.value)
    assert caught.value.exit_code == 4
    assert not licence_accepted(recipe, tmp_path)
    require_licence(recipe, tmp_path, raw, accept=True)
    require_licence(recipe, tmp_path, raw, accept=False)
    assert licence_accepted(recipe, tmp_path)
    assert not licence_accepted(get_recipe("amass"), tmp_path)
    other = recipe.model_copy(update={"licence": "new terms"})
    assert not licence_accepted(other, tmp_path)


def test_synthetic_data_needs_no_licence(make_raw: Callable[..., Path], tmp_path: Path) -> None:
    make_raw("3dpw")
    recipe = get_recipe("3dpw")
    require_licence(recipe, tmp_path, find_raw(recipe, tmp_path), accept=False)
    assert not (tmp_path / ".hpsbench").exists()


def test_a_damaged_licence_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / ".hpsbench").mkdir()
    (tmp_path / ".hpsbench" / "licences.json").write_text("{")
    with pytest.raises(BrokenFile, match=r"licences\.json"):
        licence_accepted(get_recipe("3dpw"), tmp_path)
