import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from hpsbench.errors import HpsbenchError
from hpsbench.reports import page
from hpsbench.reports.material import load_runs
from hpsbench.reports.page import LIMIT_BYTES, plan_report, safe_json, write_report
from hpsbench.reports.wording import sentences
from hpsbench.results.result import load_result


class Outline(HTMLParser):
    """Elements of a page: what a checker of accessibility looks at first."""

    VOID = frozenset({"meta", "img", "input", "br", "link", "hr"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.headings: list[int] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in self.VOID and not self.get_starttag_text().endswith("/>"):
            self.open.append(tag)
        if re.fullmatch("h[1-6]", tag):
            self.headings.append(int(tag[1]))

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID and self.open and self.open[-1] == tag:
            self.open.pop()

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attrs for name, attrs in self.elements if name == tag]


@pytest.fixture
def two_runs(make_run) -> list[page.Run]:
    clean = make_run("clean", level=60)
    hit = make_run("hit", level=80, seed=1, condition="center-0.33x1-s0")
    return load_runs([str(clean), str(hit)])


def test_a_report_without_a_store_has_every_number_and_says_what_it_lacks(two_runs, tmp_path: Path) -> None:
    written = write_report(two_runs, tmp_path / "out" / "r.html")
    text = written.path.read_text(encoding="utf-8")
    for run in two_runs:
        value = run.result.summary["pa_mpjpe"]
        assert f"{value:.1f} mm, 95 % interval {value.interval[0]:.1f} to {value.interval[1]:.1f}" in text
    assert "synthetic data" in text
    assert "the store 3dpw.zarr is not at hand" in text
    assert "Predictions were not kept for" in text
    assert "14 joints (lsp14)" in text, "the protocol in words"
    assert "@inproceedings{vonmarcard2018" in text
    assert "Kocabas et al., CVPR 2020" in text
    assert "ab" * 32 in text, "the checkpoint's hash"
    assert "@inproceedings{kocabas2020" in text, "the system's paper"
    assert "@inproceedings{choi2021" in text, "the protocol's paper"
    assert "loper2015" not in text, "no real body is shown"
    assert "vibe (center, 33% of frames) against vibe (clean)" in text
    assert "Corruption: center" in text
    assert written.size == written.path.stat().st_size < LIMIT_BYTES
    assert len(written.notes) == 2


def test_a_joint_without_a_value_is_left_out_of_the_figure(make_run, tmp_path: Path) -> None:
    folder = make_run("run")
    result = load_result(folder)
    result.frames["pa_mpjpe.Right Knee"] = float("nan")
    result.save(folder)
    text = write_report(load_runs([str(folder)]), tmp_path / "r.html").path.read_text(encoding="utf-8")
    assert text.count('<circle class="joint"') == 6
    assert '<th scope="row">Right Knee</th><td class="n">–</td>' in text


def test_tables_of_joints_and_sequences_say_over_how_many_frames(two_runs, tmp_path: Path) -> None:
    text = write_report(two_runs, tmp_path / "r.html").path.read_text(encoding="utf-8")
    assert '<th scope="col" class="n">vibe (clean)<small>120 frames</small></th>' in text
    mean = two_runs[0].result.sequences.set_index("sequence").loc["walk_0", "pa_mpjpe"]
    assert f'<th scope="row">walk_0</th><td class="n">{mean:.1f}<small>40</small></td>' in text


def test_flags_stand_with_their_reasons(make_run, tmp_path: Path) -> None:
    runs = load_runs([str(make_run("run", flags=("view-mismatch",)))])
    text = write_report(runs, tmp_path / "r.html").path.read_text(encoding="utf-8")
    assert "flags: view-mismatch (features of another view than the protocol&#39;s" in text


def test_corrupted_input_is_named_at_the_top_where_labels_do_not_say_so(make_run, tmp_path: Path) -> None:
    hit = make_run("hit", condition="center-0.33x1-s0")
    runs = load_runs([str(hit)])
    assert sentences(runs, "pa_mpjpe")[1] == "Corrupted input: center, 33% of frames."
    pair = load_runs([f"A={make_run('clean')}", f"B={hit}"])
    assert sentences(pair, "pa_mpjpe")[1] == "Corrupted input: center, 33% of frames, of B."
    said = sentences(load_runs([str(make_run("clean")), str(hit)]), "pa_mpjpe")
    assert not any(sentence.startswith("Corrupted") for sentence in said), "the labels say it"


def test_the_paired_comparison_is_that_of_compare(two_runs, tmp_path: Path) -> None:
    text = write_report(two_runs, tmp_path / "r.html").path.read_text(encoding="utf-8")
    a, b = (run.result.frames["pa_mpjpe"].mean() for run in two_runs)
    assert f"{b - a:+.2f}" in text
    assert "worse" in text


def test_runs_that_cannot_be_compared_say_why_and_other_settings_stand_apart(
    make_run, tmp_path: Path
) -> None:
    first = make_run("first")
    other = make_run("other", protocol_sha256="1" * 64)
    real = make_run("real", synthetic=False)
    text = write_report(load_runs([str(first), str(other), str(real)]), tmp_path / "r.html").path.read_text()
    assert "protocol sha256" in text
    assert 'id="g1-summary"' in text, "real numbers never stand in a table with synthetic ones"
    assert 'id="g2-summary"' not in text


def test_the_same_runs_give_the_same_bytes(two_runs, tmp_path: Path) -> None:
    first = write_report(two_runs, tmp_path / "a.html").path.read_bytes()
    assert write_report(two_runs, tmp_path / "b.html").path.read_bytes() == first
    assert str(tmp_path).encode() not in first, "no path of a machine"


def test_names_cannot_become_markup(make_run, tmp_path: Path) -> None:
    evil = "</script><img src=x onerror=alert(1)>&\"'"
    run = make_run("evil", system=evil, tracks=(evil, "b_0"), provenance={"command": evil}, flags=(evil,))
    text = write_report(load_runs([str(run)]), tmp_path / "r.html", title=evil).path.read_text()
    assert "<img src=x" not in text
    assert text.count("</script>") == 2, "data and code end where they should"
    found = re.search(r'<script type="application/json" id="report-data">(.*?)</script>', text, re.DOTALL)
    assert found is not None
    assert json.loads(found[1])["g0-timeline"]["tracks"][0]["track"] == evil


def test_nothing_is_loaded_from_anywhere(two_runs, tmp_path: Path) -> None:
    text = write_report(two_runs, tmp_path / "r.html").path.read_text(encoding="utf-8")
    outline = Outline(text)
    assert not outline.all("link")
    sources = [str(attrs["src"]) for tag in ("img", "script") for attrs in outline.all(tag) if "src" in attrs]
    assert all(source.startswith("data:") for source in sources)
    assert not re.search(r"url\(|@import|fetch\(|XMLHttpRequest|WebSocket|import\(", text)
    policy = next(
        a["content"] for a in outline.all("meta") if a.get("http-equiv") == "Content-Security-Policy"
    )
    assert "default-src 'none'" in str(policy)


def test_the_page_can_be_used_without_a_mouse_and_without_eyes(two_runs, tmp_path: Path) -> None:
    outline = Outline(write_report(two_runs, tmp_path / "r.html").path.read_text(encoding="utf-8"))
    assert outline.open == [], "every element is closed"
    assert outline.all("html")[0]["lang"] == "en"
    for landmark in ("header", "nav", "main", "footer"):
        assert len(outline.all(landmark)) == 1
    assert outline.headings.count(1) == 1
    steps = zip(outline.headings, outline.headings[1:], strict=False)
    assert all(b - a <= 1 for a, b in steps), "no heading level is skipped"
    ids = [attrs["id"] for _, attrs in outline.elements if "id" in attrs]
    assert len(ids) == len(set(ids))
    assert all(str(a["href"]).removeprefix("#") in ids for a in outline.all("a"))
    assert all("alt" in image for image in outline.all("img"))
    assert all(svg.get("aria-label") for svg in outline.all("svg"))
    assert all(control.get("aria-label") for control in outline.all("input"))
    tables = outline.all("table")
    assert len(outline.all("caption")) == len([t for t in tables if t.get("class") != "values"])
    assert all(head.get("scope") in ("col", "row") for head in outline.all("th"))


def test_a_page_that_grows_too_big_is_made_smaller_and_then_refused(
    two_runs, tmp_path: Path, monkeypatch
) -> None:
    whole = write_report(two_runs, tmp_path / "r.html").size
    monkeypatch.setattr(page, "LIMIT_BYTES", 1000)
    with pytest.raises(HpsbenchError, match="report fewer runs"):
        write_report(two_runs, tmp_path / "small.html")
    assert not (tmp_path / "small.html").exists()
    assert whole < 400_000


def test_json_in_a_script_element_cannot_end_it() -> None:
    assert "<" not in safe_json({"a": "</script><!--"})
    assert json.loads(safe_json({"a": "</script>\u2028"})) == {"a": "</script>\u2028"}


def test_the_plan_says_what_there_would_be(two_runs, tmp_path: Path) -> None:
    plan = plan_report(two_runs, tmp_path / "r.html")
    assert plan["settings"][0]["runs"] == ["vibe (clean)", "vibe (center, 33% of frames)"]
    assert plan["settings"][0]["images"] is False
    assert not (tmp_path / "r.html").exists()


def test_with_a_store_there_are_images_bodies_and_clips(world_run, tmp_path: Path) -> None:
    run, root = world_run
    written = write_report(load_runs([str(run)]), tmp_path / "r.html", root=root)
    text = written.path.read_text(encoding="utf-8")
    outline = Outline(text)
    alts = [str(image["alt"]) for image in outline.all("img")]
    for what in ("the crop that the system sees", "The annotated body drawn", "predicts, drawn on frame"):
        assert any(what in alt for alt in alts), what
    found = re.search(r'id="report-data">(.*?)</script>', text, re.DOTALL)
    assert found is not None
    data = json.loads(found[1])
    assert any(track["pictures"] for track in data["g0-timeline"]["tracks"])
    clips = data["g0-viewer"]
    assert clips["bodies"][0] == "ground truth"
    assert all(clip["bodies"][0]["n"] == clip["bodies"][1]["n"] > 800 for clip in clips["clips"])
    assert "faces" in clips
    skeletons = write_report(load_runs([str(run)]), tmp_path / "s.html", root=root, viewer="skeleton")
    assert '"faces"' not in skeletons.path.read_text(encoding="utf-8")


def test_a_store_that_was_not_scored_is_not_shown(world_run, make_run, tmp_path: Path) -> None:
    _, root = world_run
    facts = {"store": {"dataset": "3dpw", "raw_manifest_sha256": "f" * 64}}
    run = make_run("elsewhere", provenance=facts)
    written = write_report(load_runs([str(run)]), tmp_path / "r.html", root=root)
    assert any("is not the store that was scored: raw_manifest_sha256" in note for note in written.notes)
