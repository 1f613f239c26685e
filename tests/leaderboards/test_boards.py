import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hpsbench.data_dir import data_dir
from hpsbench.errors import BadData, MissingData, UsageError
from hpsbench.leaderboards.board import list_boards, read_board
from hpsbench.leaderboards.check import check
from hpsbench.leaderboards.entry import read_entry
from hpsbench.leaderboards.render import board_page, build, eval_results, latex
from hpsbench.leaderboards.submit import submit
from hpsbench.results.measured import Measured
from hpsbench.results.result import Result

Save = Callable[..., Path]


@pytest.fixture
def boards(tmp_path: Path) -> Path:
    folder = tmp_path / "leaderboards"
    shutil.copytree(data_dir("leaderboards") / "papers", folder / "papers")
    (folder / "README.md").write_text("# Leaderboards\n\nWords of a person.\n", encoding="utf-8")
    return folder


def edit(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    document = json.loads(path.read_text(encoding="utf-8"))
    change(document)
    path.write_text(json.dumps(document), encoding="utf-8")


def test_what_is_in_the_repository_is_sound() -> None:
    assert check(data_dir("leaderboards")) == []


def test_an_entry_lies_on_its_board_under_a_name_of_its_content(boards: Path, save: Save) -> None:
    folder = save()
    path, entry = submit(folder, boards, trained_with_3dpw=True)
    assert path.parent == boards / "synthetic/3dpw/tcmr@1"
    assert path.name.startswith("vibe_")
    assert submit(folder, boards, trained_with_3dpw=True)[0] == path
    assert read_entry(path) == entry
    assert entry.sequences["s1"] == {"mpjpe": 81.0, "mpjpe_n": 20.0, "pa_mpjpe": 51.0, "pa_mpjpe_n": 20.0}
    assert check(boards) == []
    hurt, _ = submit(save(condition="center-0.33x1-s0"), boards)
    assert hurt.parent.name == "tcmr@1_center-0.33x1"
    real, _ = submit(save(synthetic=False), boards)
    assert real.parent == boards / "3dpw/tcmr@1"


def test_a_partial_result_and_bare_arrays_are_refused(boards: Path, save: Save) -> None:
    with pytest.raises(UsageError, match="partial"):
        submit(save(partial=True), boards)
    with pytest.raises(UsageError, match="bare arrays"):
        submit(save(synthetic=None), boards)
    with pytest.raises(MissingData, match="no predictions"):
        submit(save(), boards, predictions=boards / "none.npz")
    with pytest.raises(BadData, match="protocol_sha256"):
        submit(save(protocol_sha256="short"), boards)
    assert list_boards(boards) == []


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda d: d["metrics"]["mpjpe"].update(value=70.0), "should be called"),
        (lambda d: d["metrics"]["mpjpe"].update(value=81.2), "but its sequences give 81.3"),
        (lambda d: d["metrics"]["mpjpe"].update(interval=[1.0, 2.0]), "outside its interval"),
        (lambda d: d["metrics"]["mpjpe"].update(unit="m"), "mpjpe in m; tcmr@1 has mm"),
        (lambda d: d.update(protocol_sha256="cd" * 32), "measured by other rules"),
        (lambda d: d.update(view="vibe"), "reads 'tcmr'"),
        (
            lambda d: d.update(synthetic=False),
            "lies in synthetic/3dpw/tcmr@1, its content belongs to 3dpw/tcmr@1",
        ),
        (lambda d: d.update(extractor_sha256="none"), "no sha256"),
        (lambda d: d.update(flags=["odd"]), "flag 'odd' has no known reason"),
        (lambda d: d.update(kind="reported"), "kind"),
        (lambda d: d.pop("metrics"), "metrics: missing"),
        (lambda d: d.update(odd=1), "odd: not a key of an entry"),
        (
            lambda d: d.update(checkpoint_sha256="abc"),
            "checkpoint_sha256: no sha256 (64 hexadecimal digits), found 'abc'",
        ),
        (
            lambda d: d["metrics"]["mpjpe"].update(n="many"),
            "metrics.mpjpe.n: Input should be a valid integer",
        ),
        (lambda d: d.update(flags=["undertrained"]), "should be called"),
        (lambda d: d.update(sequences={}), "mpjpe: no sequence has a value"),
        (lambda d: d["metrics"]["mpjpe"].update(n=600), "mpjpe: n is 600, but its sequences have 60 values"),
        (lambda d: d.update(scored=59), "scored frames: 59, others of this board 60; they do not compare"),
        (lambda d: d.update(scored=59), "scored: 59, but its accounting says 60"),
        (lambda d: d["accounting"].update({"in": 61}), "frames of the dataset: 61, others of this board 60"),
        (
            lambda d: d["sequences"].update(s9=d["sequences"].pop("s0")),
            "sequences: 3 with s9, others of this board 3 with s0",
        ),
        (
            lambda d: d["store"].update(raw_manifest_sha256="cd" * 32),
            f"raw data: {'cd' * 32}, others of this board None",
        ),
    ],
)
def test_the_check_finds_what_was_changed(
    boards: Path, save: Save, change: Callable[[dict[str, Any]], None], found: str
) -> None:
    for system in ("spin", "tcmr"):
        submit(save(system), boards)
    path, _ = submit(save(), boards)
    edit(path, change)
    assert any(found in problem for problem in check(boards)), check(boards)


def test_an_entry_that_lies_on_no_board_is_found(boards: Path, save: Save) -> None:
    path, _ = submit(save(), boards)
    (boards / "tables" / "vibe_table1").mkdir(parents=True)
    shutil.copy(path, boards / "tables" / "vibe_table1" / "table.json")
    shutil.copy(path, boards / "synthetic" / "3dpw" / path.name)
    (found,) = check(boards)
    assert found.startswith(f"synthetic/3dpw/{path.name}: lies on no board")


def test_every_flag_that_a_result_may_carry_has_a_reason(boards: Path, save: Save) -> None:
    names = (
        "extractor-mismatch", "view-mismatch", "ground-truth-camera", "no-flip-test", "common-frames",
        "predicted-frames", "undertrained", "windows-16",
    )  # fmt: skip
    submit(save(flags=names), boards)
    assert check(boards) == []
    page = board_page(read_board(boards, "synthetic/3dpw/tcmr@1"))
    assert "see the entry" not in page
    assert "- windows-16: cut into windows of 16 frames" in page


def test_one_system_stands_on_a_board_once(boards: Path, save: Save) -> None:
    first, _ = submit(save(), boards)
    again, _ = submit(save("vibe", 51.0), boards)
    problem = f"{again.relative_to(boards)}: the same name, system, checkpoint, features and seeds as"
    other = f"{first.relative_to(boards)}: the same name, system, checkpoint, features and seeds as"
    (found,) = check(boards)
    assert found.startswith((problem, other))
    again.unlink()
    submit(save("vibe", 51.0), boards, name="vibe, other options")
    shutil.copy(first, first.with_name("copy.json"))
    assert any("copy.json: should be called" in text for text in check(boards))


def test_numbers_are_made_again_from_predictions(world_run: tuple[Path, Path], boards: Path) -> None:
    run, root = world_run
    path, entry = submit(run, boards, root=root)
    assert entry.predictions is not None
    assert entry.predictions.url == "runs/mean/predictions.zarr", "no path of this machine"
    assert check(boards, root=root) == []

    def lie(document: dict[str, Any]) -> None:
        document["metrics"]["pa_mpjpe"]["value"] += 0.1
        for sequence in document["sequences"].values():
            sequence["pa_mpjpe"] += 0.1

    edit(path, lie)
    path = path.rename(path.with_name(read_entry(path).file_name))
    assert check(boards) == [], "nothing in the entry itself gives it away"
    (problem,) = check(boards, root=root)
    assert "but the predictions give" in problem
    edit(path, lambda d: d["predictions"].update(sha256="cd" * 32))
    assert "has another sha256 than the entry says" in check(boards, root=root)[0]


def test_predictions_that_nobody_would_find_need_an_address(boards: Path, save: Save, tmp_path: Path) -> None:
    file = tmp_path / "p.npz"
    file.write_bytes(b"1")
    with pytest.raises(UsageError, match="say where it can be had"):
        submit(save(), boards, predictions=file)
    with pytest.raises(UsageError, match="say where it can be had"):
        submit(save(), boards, predictions=file, root=tmp_path / "runs")
    _, entry = submit(save(), boards, predictions=file, root=tmp_path)
    assert entry.predictions is not None
    assert entry.predictions.url == "p.npz"


def test_a_printed_number_that_was_damaged_is_found(boards: Path) -> None:
    path = boards / "papers" / "vibe_table1.csv"
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("82.9", "82,9", 1), encoding="utf-8")
    assert any("not 14 columns" in problem for problem in check(boards))
    path.write_text(text.replace("82.9", "82.9*", 1), encoding="utf-8")
    assert any("value '82.9*' is no number" in problem for problem in check(boards))
    path.write_text(text.replace(",sure", ",certain", 1), encoding="utf-8")
    assert any("certainty 'certain'" in problem for problem in check(boards))
    path.write_text(text.replace(",hmr,", ",hmrr,", 1), encoding="utf-8")
    assert any("method 'hmrr' is not in papers/methods.csv" in problem for problem in check(boards))
    path.write_text(text.replace('"{""', '"{', 1), encoding="utf-8")
    assert any("is neither empty nor a JSON object" in problem for problem in check(boards))


def test_the_best_stands_first_and_reported_numbers_apart(boards: Path, save: Save) -> None:
    for system, error in (("spin", 60.0), ("vibe", 52.0), ("catfa", 50.0)):
        submit(save(system, error, synthetic=False), boards, trained_with_3dpw=True)
    board = read_board(boards, "3dpw/tcmr@1")
    assert [entry.system for _, entry in board.entries] == ["catfa", "vibe", "spin"]
    page = board_page(board)
    measured, reported = page.split("## Reported by papers, not measured here")
    assert "| 1 | catfa | 81.3 [79.3, 83.3] | 51.3 [49.3, 53.3] | 60 | yes |" in measured
    assert "82.9 [" in reported
    assert "retracted: VIBE's README withdraws" in reported
    assert "82.9" not in measured


def test_a_setting_of_a_dataset_shows_what_papers_print_with_units_and_every_value(
    boards: Path, save: Save
) -> None:
    submit(save(dataset="h36m-p2", synthetic=False), boards)
    page = board_page(read_board(boards, "h36m-p2/tcmr@1"))
    assert "| mpjpe, mm | pa_mpjpe, mm | accel_err, mm/s^2 |" in page
    assert "mm per frame squared" in page
    (line,) = [line for line in page.splitlines() if line.startswith("| catfa |  | unknown |")]
    assert "70.9 [" in line, "table III"
    assert "70.7 [" in line, "and table IV"


def test_the_seed_of_a_condition_is_no_part_of_a_page(boards: Path, save: Save) -> None:
    for seed in (3, 4):
        submit(save(condition=f"center-0.33x1-s{seed}", seeds=(seed,)), boards)
    page = board_page(read_board(boards, "synthetic/3dpw/tcmr@1_center-0.33x1"))
    assert page.startswith("# synthetic 3dpw, tcmr@1, center-0.33x1\n")


ODD = '[<b>\n"q"</b>] & 100 % | $x_1$ ~ #1 ^ {z} \\ *'


def test_names_cannot_become_markup(boards: Path, save: Save) -> None:
    yaml = pytest.importorskip("yaml")
    _, entry = submit(save(condition="center-0.33x1-s0"), boards, name=ODD)
    board = read_board(boards, "synthetic/3dpw/tcmr@1_center-0.33x1")
    (row,) = [line for line in board_page(board).splitlines() if line.startswith("| 1 |")]
    assert r'| \[\<b\> "q"\</b\>\] \& 100 % \| $x_1$ \~ #1 ^ {z} \\ \* |' in row
    table = latex(board)
    cells = r'{}[\textless{}b\textgreater{} "q"\textless{}/b\textgreater{}] \& 100 \% \textbar{} \$x\_1\$ '
    cells += r"\textasciitilde{} \#1 \textasciicircum{} \{z\} \textbackslash{} * & 81.3"
    assert cells in table
    assert "center-0.33x1, synthetic data" in table
    found = yaml.safe_load(eval_results(entry, dataset_id="a/b", source="https://example.org/?a=1&b=%20#c"))
    assert found[0]["source"]["url"] == "https://example.org/?a=1&b=%20#c"
    assert found[0]["dataset"] == {"id": "a/b", "task_id": "mpjpe"}
    assert found[0]["value"] == entry.metrics["mpjpe"].value


def test_a_share_keeps_its_digits(boards: Path, save: Save, make_result: Callable[..., Result]) -> None:
    made = make_result()
    share = Measured(0.7123, unit="1", n=60, interval=(0.7, 0.72))
    submit(save(summary={**made.summary, "auc": share}), boards)
    assert "| 0.712 [0.700, 0.720] |" in board_page(read_board(boards, "synthetic/3dpw/tcmr@1"))


def test_entries_that_differ_in_the_seed_alone_say_which(boards: Path, save: Save) -> None:
    for seed in (0, 1):
        submit(save("vibe", 52.0 + seed, seeds=(seed,)), boards)
    submit(save("catfa", 60.0), boards)
    page = board_page(read_board(boards, "synthetic/3dpw/tcmr@1"))
    assert [
        line.split("|")[2].strip() for line in page.splitlines() if line.startswith("| ") and "json" in line
    ] == [
        "vibe, seed 0",
        "vibe, seed 1",
        "catfa",
    ]


def test_a_synthetic_page_says_so_and_shows_no_reported_numbers(boards: Path, save: Save) -> None:
    submit(save(), boards)
    page = board_page(read_board(boards, "synthetic/3dpw/tcmr@1"))
    assert "**Synthetic data.**" in page
    assert "Reported" not in page


def test_building_twice_changes_nothing_and_keeps_a_persons_words(boards: Path, save: Save) -> None:
    submit(save(), boards)
    pages = build(boards)
    first = [page.read_text(encoding="utf-8") for page in pages]
    assert build(boards) == pages
    assert [page.read_text(encoding="utf-8") for page in pages] == first
    assert "Words of a person." in first[-1]
    assert "[synthetic/3dpw/tcmr@1](synthetic/3dpw/tcmr@1/README.md)" in first[-1]


def test_exports(boards: Path, save: Save) -> None:
    _, entry = submit(save(), boards)
    text = eval_results(
        entry, dataset_id="someone/3dpw", date="2026-11-21", source="https://example.org/e.json"
    )
    assert text.startswith('- dataset:\n    id: "someone/3dpw"\n    task_id: "mpjpe"\n  value: 81.3')
    assert text.count("SYNTHETIC DATA") == 2
    assert 'notes: "tcmr@1, SYNTHETIC DATA, mm, n = 60, 95 % interval 79.33 to 83.33"' in text
    assert '    url: "https://example.org/e.json"' in text
    table = latex(read_board(boards, "synthetic/3dpw/tcmr@1"))
    assert r"vibe & 81.3 [79.3, 83.3] & 51.3 [49.3, 53.3] & 60 \\" in table
    assert r"\begin{tabular}{lrrr}" in table
    assert r"pa\_mpjpe (mm)" in table
    assert "textsuperscript" not in table
    assert r"\footnotesize 3dpw, tcmr@1, clean input, synthetic data; mean [95 \% interval" in table


def test_what_the_hub_would_refuse_is_refused_here(boards: Path, save: Save) -> None:
    path, entry = submit(save(), boards)
    for date in ("2026-11-21", "2026-11-21T16:30:00Z", None):
        eval_results(entry, dataset_id="some.one/3dpw_v-1", date=date)
    with pytest.raises(UsageError, match="ISO 8601"):
        eval_results(entry, dataset_id="a/b", date="yesterday")
    for name in ("3dpw", "a/b/c", "a/b c", "https://huggingface.co/a/b"):
        with pytest.raises(UsageError, match="owner/name"):
            eval_results(entry, dataset_id=name)
    for missing in (path.parent, path.with_name("none.json")):
        with pytest.raises(MissingData, match="no entry at"):
            read_entry(missing)


def test_flags_and_their_reasons_go_wherever_the_numbers_go(boards: Path, save: Save) -> None:
    submit(save("spin"), boards)
    _, entry = submit(save(flags=("undertrained",)), boards)
    board = read_board(boards, "synthetic/3dpw/tcmr@1")
    reason = "undertrained: fewer training steps than its recipe declares"
    assert f"- {reason}" in board_page(board)
    assert reason in eval_results(entry, dataset_id="someone/3dpw")
    table = latex(board)
    assert r"vibe\textsuperscript{a} & " in table
    assert rf"\multicolumn{{4}}{{l}}{{\footnotesize a: {reason}}}" in table


def test_the_hash_of_predictions_is_kept(boards: Path, save: Save, tmp_path: Path, make_result: Callable[..., Result]) -> None:  # fmt: skip
    folder = tmp_path / "predictions.zarr"
    folder.mkdir()
    (folder / "a").write_text("1", encoding="utf-8")
    _, entry = submit(save(), boards, predictions=folder, url="https://example.org/p.zarr")
    (folder / "a").write_text("2", encoding="utf-8")
    _, other = submit(save(), boards, predictions=folder, url="https://example.org/p.zarr")
    assert entry.predictions is not None
    assert other.predictions is not None
    assert entry.predictions.sha256 != other.predictions.sha256
    with pytest.raises(UsageError, match="needs the file as well"):
        submit(save(), boards, url="https://example.org/p.zarr")
