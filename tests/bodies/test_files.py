from pathlib import Path

import pytest

from hpsbench.bodies.files import body_folder, file_sha256, find_body_file, find_body_files
from hpsbench.errors import MissingBodyModel, UnknownName


def test_npz_is_preferred_and_both_kinds_have_their_folder(tmp_path: Path) -> None:
    folder = body_folder(tmp_path, synthetic=False)
    assert folder == tmp_path / "body_models" / "smpl"
    assert body_folder(tmp_path, synthetic=True).name == "synthetic"
    folder.mkdir(parents=True)
    (folder / "SMPL_MALE.pkl").touch()
    assert find_body_file(folder, "male").name == "SMPL_MALE.pkl"
    (folder / "SMPL_MALE.npz").touch()
    assert find_body_file(folder, "male").name == "SMPL_MALE.npz"
    assert find_body_files(tmp_path, synthetic=False) == {"male": folder / "SMPL_MALE.npz"}


def test_what_is_in_the_folder_is_said(tmp_path: Path) -> None:
    with pytest.raises(MissingBodyModel, match="the folder does not exist"):
        find_body_file(tmp_path / "smpl")
    (tmp_path / "basicmodel_m.pkl").touch()
    with pytest.raises(MissingBodyModel, match=r"it holds basicmodel_m\.pkl\).*rename basicmodel_neutral"):
        find_body_file(tmp_path)
    with pytest.raises(UnknownName, match="Did you mean 'female'"):
        find_body_file(tmp_path, "females")


def test_a_hash_follows_the_content(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"one")
    first = file_sha256(path)
    path.write_bytes(b"three")
    assert file_sha256(path) != first
