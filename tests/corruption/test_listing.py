import pytest

from hpsbench.corruption._catalog import get_corruption, list_corruptions
from hpsbench.corruption._listing import describe_corruptions

ROWS = {row["corruption"]: row for row in describe_corruptions()}


def test_all_are_listed() -> None:
    assert list(ROWS) == list_corruptions()


@pytest.mark.parametrize("name", list_corruptions())
def test_what_is_read_from_a_file_is_what_it_makes(name: str) -> None:
    row, real = ROWS[name], get_corruption(name)
    assert (row["version"], row["changes"], row["graded"]) == (real.version, real.kind, real.graded)
    assert row["does"]
    assert row["counts"]
    for shown, level in zip(row["severities"], real.levels, strict=True):
        values = tuple(shown) if isinstance(shown, list) else (shown,)
        assert values == (level.strength if real.graded else (level.ratio, level.consecutive))
