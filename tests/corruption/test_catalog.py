import pytest

from hpsbench.corruption._catalog import get_corruption, list_corruptions
from hpsbench.errors import UnknownName


def test_both_spellings_of_centre_are_one_corruption() -> None:
    assert get_corruption("centre") is get_corruption("center")
    assert get_corruption("box_jitter") is get_corruption("box-jitter")


def test_an_unknown_corruption_gets_a_suggestion() -> None:
    assert {"center", "random"} <= set(list_corruptions())
    with pytest.raises(UnknownName, match="Did you mean 'random'"):
        get_corruption("randon")
