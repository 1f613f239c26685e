import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from hpsbench.tables.convergence import convergence
from hpsbench.tables.notes import footnotes, sample_notes
from hpsbench.tables.recipes import shorter
from hpsbench.tables.render import FORMS
from hpsbench.tables.run import Reproduced, save
from hpsbench.tables.trained import Trained, all_converged, training_flags
from hpsbench.training.config import get_training_recipe


@pytest.mark.parametrize(
    ("curve", "converged", "change"),
    [
        ([60, 55, 52, 50, 49.9], True, -0.2),
        ([60, 55, 52, 50, 49], False, -2.0),
        ([60, 55, 50, 58, 61], True, 0.0),  # what is kept is the third epoch, and the end did not change that
        ([60, 50, 60, 60, 60, 60, 60, 60, 60, 40], False, -20.0),
        ([60, 50, 60, 60, 60, 60, 60, 40, 60, 60], True, 0.0),
    ],
)
def test_a_curve_has_settled_if_its_best_value_hardly_moves_in_the_last_fifth(
    curve: list[float], converged: bool, change: float
) -> None:
    found = convergence(curve)
    assert found.converged is converged
    assert found.change == pytest.approx(change, abs=1e-9)


def test_a_curve_of_fewer_than_five_epochs_tells_nothing() -> None:
    assert convergence([50.0] * 4).converged is None
    assert convergence([]).why_unknown == "0 epochs: a fifth is less than one"
    assert convergence([50.0] * 5).converged is True


def test_a_training_is_short_by_steps_windows_or_what_comes_before_it() -> None:
    declared = get_training_recipe("vibe", overrides={"schedule.epochs": 4})

    def changed(**overrides: object) -> list[str]:
        typed = {key.replace("__", "."): value for key, value in overrides.items()}
        return shorter(get_training_recipe("vibe", overrides={"schedule.epochs": 4, **typed}), declared)

    assert changed() == []
    assert changed(schedule__epochs=6) == []
    assert (
        changed(schedule__plateau_patience=1, optimiser__lr=1e-3) == []
    )  # a rate that drops early is no less
    assert changed(schedule__epochs=3) == ["1500 of 2000 steps"]
    assert changed(max_steps=7) == ["7 of 2000 steps"]
    assert changed(schedule__batch=4) == ["4 of 32 windows a step"]
    prior = get_training_recipe("vibe-mposer")
    less = get_training_recipe("vibe-mposer", overrides={"prior.steps": 10})
    assert prior.prior is not None
    assert shorter(less, prior) == [f"10 of {prior.prior.steps} steps of the prior"]


def test_a_training_that_stopped_before_its_steps_is_short(make_trained: Callable[..., Trained]) -> None:
    assert make_trained(steps=95).shorter == ("95 of 96 steps",)
    assert not make_trained(steps=96).undertrained
    assert not make_trained(steps=200).undertrained


def test_one_that_is_unknown_or_moving_decides_for_all(make_trained: Callable[..., Trained]) -> None:
    settled, moving, unknown = (
        make_trained(),
        make_trained(curve=(60, 55, 52, 50, 45)),
        make_trained(curve=(60,)),
    )
    assert all_converged([settled, settled]) is True
    assert all_converged([settled, unknown]) is None
    assert all_converged([settled, unknown, moving]) is False
    assert all_converged([]) is None


def test_a_table_says_below_it_which_trainings_were_short_or_not_settled(
    make_reproduced: Callable[..., Reproduced], make_trained: Callable[..., Trained], tmp_path: Path
) -> None:
    found = make_reproduced("spsnet:table4")
    one = make_trained(recipe="spsnet", shorter=("3 of 96 steps",))
    other = make_trained(recipe="spsnet-gru", curve=(60, 55, 52, 50, 45), without_data=("mask",))
    third = make_trained(recipe="spsnet-gru", seed=1, curve=(60, 55))
    half = len(found.cells) // 2
    cells = tuple(
        replace(f, trained=(one,) if i < half else (other, third), undertrained=i < half)
        for i, f in enumerate(found.cells)
    )
    found = replace(found, cells=cells)
    text = " ".join(footnotes(found))
    assert "Undertrained: 1 of 3 trainings: spsnet seed 0 (3 of 96 steps)." in text
    assert "Losses that had no data: spsnet-gru seed 0 (mask)." in text
    assert "1 of 3 trainings; not converged: spsnet-gru seed 0 (-10.0 %)" in text
    assert "unknown: 1 (2 epochs: a fifth is less than one)" in text
    for path in save(found, tmp_path, FORMS):
        if path.suffix not in (".csv", ".json"):
            assert "not converged" in path.read_text(encoding="utf-8"), path.suffix
    document = json.loads((tmp_path / "table.json").read_text(encoding="utf-8"))
    assert [t["converged"] for t in document["trainings"]] == [True, False, None]
    assert document["cells"][0]["converged"] is True
    assert document["cells"][-1]["converged"] is False
    assert document["cells"][-1]["last_fifth_percent"] == -10.0


def test_a_table_says_below_it_of_how_many_values_it_is(make_reproduced: Callable[..., Reproduced]) -> None:
    found = make_reproduced("spsnet:table4")
    measured = [f for f in found.cells if f.measured is not None]
    assert measured
    numbers = {"pa_mpjpe": 23_200, "mpjpe": 23_200, "pve": 1_500}
    cells = tuple(replace(f, n=numbers[f.cell.metric]) for f in found.cells)
    (line,) = sample_notes(replace(found, cells=cells))
    seeds = len(measured[0].results)
    times = f" x {seeds} seeds" if seeds > 1 else ""
    what = "scored frames" if seeds else "calls"
    assert line == f"n: 3DPW PA-MPJPE, MPJPE 23,200 {what}{times}; 3DPW PVE 1,500 {what}{times}."
    assert sample_notes(replace(found, cells=tuple(replace(f, measured=None) for f in cells))) == []


def test_trainings_of_one_recipe_are_told_apart_by_what_hurt_their_images(
    make_reproduced: Callable[..., Reproduced], make_trained: Callable[..., Trained]
) -> None:
    moving = (60.0, 55.0, 52.0, 50.0, 45.0)
    clean = make_trained(curve=moving)
    hurt = make_trained(curve=moving, features="embedded-vibe+center-0.33x1-s0")
    found = make_reproduced("spsnet:table4")
    found = replace(found, cells=tuple(replace(f, trained=(clean, hurt)) for f in found.cells))
    text = " ".join(footnotes(found))
    assert "not converged: vibe seed 0 (-10.0 %), vibe on center-0.33x1-s0 seed 0 (-10.0 %)" in text


@pytest.mark.parametrize(
    ("printed", "sources", "left_out", "flags"),
    [
        ("yes", ("3dpw", "h36m"), (), ()),
        ("no", ("h36m",), (), ()),
        ("unknown", ("3dpw",), (), ()),
        ("no", ("3dpw",), ("h36m",), ("trained-without-h36m", "trained-with-3dpw")),
        ("yes", ("h36m",), (), ("trained-without-3dpw",)),
        ("yes", ("h36m",), ("3dpw",), ("trained-without-3dpw",)),
    ],
)
def test_a_cell_carries_in_what_its_training_data_differ(
    printed: str,
    sources: tuple[str, ...],
    left_out: tuple[str, ...],
    flags: tuple[str, ...],
    make_trained: Callable[..., Trained],
) -> None:
    assert training_flags(printed, [make_trained(sources=sources, left_out=left_out)]) == flags
    assert training_flags(printed, []) == ()


@pytest.mark.parametrize("ending", ["md", "tex", "html"])
def test_a_page_says_what_was_learned_from_and_where_that_is_not_as_in_the_paper(
    ending: str, make_reproduced: Callable[..., Reproduced], make_trained: Callable[..., Trained]
) -> None:
    trained = make_trained(recipe="spsnet", sources=("3dpw", "instavariety"), left_out=("h36m",))
    found = make_reproduced("spsnet:table4")
    flags = training_flags("no", [trained])
    found = replace(found, cells=tuple(replace(f, trained=(trained,), flags=flags) for f in found.cells[:3]))
    text = FORMS[ending](found)
    assert "Trained on: spsnet: 3DPW, InstaVariety (not prepared, so left out: Human3.6M)." in text
    assert "Trained with 3DPW here, unlike in the paper: Ours (Self-Attention)." in text
