from hpsbench.corruption._catalog import get_corruption, list_corruptions
from hpsbench.corruption._record import describe_corruption

RECORD = {
    "mode": "center", "ratio": 0.33, "consecutive": 1, "seed": 0, "pattern": "random", "fill": "black", "clean": "spin-tcmr",
    "tracks": 2, "cut": 0, "hits": {"row": [1, 5], "left": [3, 4], "top": [0, 1], "side": [9, 9]},
}  # fmt: skip


def test_a_result_keeps_parameters_version_and_a_hash_instead_of_the_list_of_hits() -> None:
    found = describe_corruption(RECORD)
    assert found is not None
    assert "hits" not in found
    assert (found["mode"], found["ratio"], found["seed"], found["hit"]) == ("center", 0.33, 0, 2)
    moved = {**RECORD, "hits": {**RECORD["hits"], "left": [3, 5]}}  # type: ignore[dict-item]
    assert describe_corruption(RECORD) == found
    assert describe_corruption(moved)["manifest_sha256"] != found["manifest_sha256"]  # type: ignore[index]


def test_a_set_without_a_version_is_of_the_first_and_a_later_one_says_its_own() -> None:
    assert describe_corruption(RECORD)["version"] == 1  # type: ignore[index]
    assert describe_corruption({**RECORD, "version": 2})["version"] == 2  # type: ignore[index]


def test_clean_and_imported_sets() -> None:
    assert describe_corruption(None) is None
    assert describe_corruption({}) is None
    assert describe_corruption("occ") == {"version": None, "mode": "occ"}


def test_every_corruption_has_a_version() -> None:
    assert all(get_corruption(name).version >= 1 for name in list_corruptions())
