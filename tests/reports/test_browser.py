"""The page in a real browser: headless Chromium; skipped where there is none."""

import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from hpsbench.reports.material import load_runs
from hpsbench.reports.page import write_report

BROWSER = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)
pytestmark = pytest.mark.skipif(
    BROWSER is None, reason="no Chromium on this machine (Debian: apt-get install chromium)"
)

# Runs before everything else on the page: what goes wrong is kept.
WATCH = """<script>
window.problems = [];
addEventListener("error", (e) => problems.push(String(e.message || e.target.src)), true);
addEventListener("unhandledrejection", (e) => problems.push(String(e.reason)));
addEventListener("securitypolicyviolation", (e) => problems.push("blocked " + e.blockedURI));
for (const level of ["error", "warn"]) console[level] = (...all) => problems.push(all.join(" "));
</script>"""

# Uses the page as a person would, then writes down what it found.
USE = """<script>
const wait = (ms) => new Promise((done) => setTimeout(done, ms));
const one = (query) => document.querySelector(query);
const press = (node, key) => node.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true }));
const painted = (canvas) => {
  const pixels = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
  let count = 0, sum = 0;
  for (let i = 3; i < pixels.length; i += 4) if (pixels[i]) { count++; sum += i * pixels[i - 3] % 9973; }
  return [count, sum];
};
(async () => {
  await wait(300);
  const found = { ready: document.documentElement.dataset.ready, width: innerWidth, scroll: document.documentElement.scrollWidth };
  const svg = one(".timeline svg"), slider = one(".timeline input");
  found.lines = [...svg.querySelectorAll("path.line")].map((p) => p.getAttribute("d").length);
  found.before = one(".timeline .readout").textContent;
  slider.value = 7; slider.dispatchEvent(new Event("input"));
  found.after = one(".timeline .readout").textContent;
  found.spoken = slider.getAttribute("aria-valuetext");
  const box = svg.getBoundingClientRect();
  svg.dispatchEvent(new PointerEvent("pointermove", { clientX: box.right - 9, clientY: box.top + 9, bubbles: true }));
  found.hovered = one(".timeline .readout").textContent;
  one(".timeline details").open = true;
  await wait(50);
  found.rows = document.querySelectorAll(".timeline table tbody tr").length;
  const picture = one(".timeline .photo img");
  found.photo = [picture.hidden, picture.naturalWidth, picture.alt];
  const canvas = one(".viewer3d canvas");
  if (canvas) {
    await wait(400);
    found.first = painted(canvas);
    press(canvas, "ArrowLeft");
    found.turned = painted(canvas);
    const frame = one(".viewer3d input.frame");
    frame.value = frame.max; frame.dispatchEvent(new Event("input"));
    found.last = painted(canvas);
    one(".viewer3d .bodies input").click();
    found.hidden = [painted(canvas), canvas.dataset.drawn];
    press(canvas, " ");
    found.playing = one(".viewer3d .play").textContent;
    press(canvas, " ");
    found.where = one(".viewer3d .readout").textContent;
  }
  found.firstColumn = Math.max(...[...document.querySelectorAll("tbody th")].map((h) => h.offsetWidth));
  found.images = [...document.images].filter((i) => !i.hidden && i.loading !== "lazy" && !i.naturalWidth).length;
  found.loaded = performance.getEntriesByType("resource").map((e) => e.name).filter((n) => !n.startsWith("data:"));
  found.background = getComputedStyle(document.body).backgroundColor;
  found.text = getComputedStyle(document.body).color;
  found.problems = problems;
  const out = document.createElement("pre");
  out.id = "probe";
  out.textContent = JSON.stringify(found);
  document.body.append(out);
  if (parent !== window) parent.postMessage(out.textContent, "*");
})();
</script>"""


def browse(page: Path, folder: Path, *arguments: str) -> str:
    """What headless Chromium prints about a page; it may reach no host."""
    command = [
        str(BROWSER),
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--hide-scrollbars",
        "--no-first-run",
        "--disable-background-networking",
        "--host-resolver-rules=MAP * ~NOTFOUND",
        "--virtual-time-budget=2500",
        f"--user-data-dir={folder / 'profile'}",
        *arguments,
        page.as_uri(),
    ]
    return subprocess.run(command, capture_output=True, text=True, timeout=240, check=True).stdout


# The narrowest window of headless Chromium is wider than a phone; a frame is as narrow as one likes.
PHONE = """<!doctype html><iframe src="probed.html" style="border:0;width:390px;height:844px"></iframe><pre id="probe"></pre>
<script>addEventListener("message", (e) => { document.getElementById("probe").textContent = e.data; });</script>"""


def probe(report: Path, folder: Path, *, phone: bool = False, dark: bool = False) -> dict[str, Any]:
    """Use a copy of the report in the browser and give what was seen."""
    text = report.read_text(encoding="utf-8")
    text = text.replace("<title>", WATCH + "<title>", 1).replace("</body>", USE + "</body>", 1)
    page = folder / "probed.html"
    page.write_text(text, encoding="utf-8")
    if phone:
        page = folder / "phone.html"
        page.write_text(PHONE, encoding="utf-8")
    scheme = ("--blink-settings=preferredColorScheme=0",) if dark else ()
    shown = browse(page, folder, "--dump-dom", "--window-size=1280,900", *scheme)
    found = re.search(r'<pre id="probe">(.*?)</pre>', shown, re.DOTALL)
    assert found is not None, shown[-2000:]
    return dict(json.loads(html.unescape(found[1])))


@pytest.fixture(scope="module")
def world_report(world_run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run, root = world_run
    out = tmp_path_factory.mktemp("browser") / "report.html"
    return write_report(load_runs([str(run)]), out, root=root).path


@pytest.fixture(scope="module")
def seen(world_report: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What was seen when the page was used in a large window."""
    return probe(world_report, tmp_path_factory.mktemp("large"))


def test_everything_on_the_page_works(seen: dict[str, Any]) -> None:
    assert seen["ready"] == "true"
    assert seen["problems"] == [], "no error, no warning, nothing blocked"
    assert seen["loaded"] == [], "no network"
    assert len(seen["lines"]) == 1
    assert seen["lines"][0] > 100
    assert len({seen["before"], seen["after"], seen["hovered"]}) == 3, "slider and pointer choose frames"
    assert seen["spoken"].startswith("frame ")
    assert seen["rows"] >= 20
    hidden, width, alt = seen["photo"]
    assert (hidden, width) == (False, 128)
    assert alt.startswith("Frame ")
    assert seen["images"] == 0, "every picture is shown"


def test_the_viewer_draws_turns_plays_and_hides(seen: dict[str, Any]) -> None:
    assert seen["first"][0] > 3000, "two bodies are on the canvas"
    assert seen["turned"] != seen["first"]
    assert seen["last"] != seen["turned"]
    pixels, bodies = seen["hidden"]
    assert bodies == "1"
    assert 0 < pixels[0] < seen["last"][0]
    assert seen["playing"] == "Pause"
    assert "frame" in seen["where"]


def test_it_fits_a_phone_and_follows_dark_mode(world_report: Path, tmp_path: Path) -> None:
    seen = probe(world_report, tmp_path, phone=True, dark=True)
    assert seen["problems"] == []
    assert seen["width"] == 390
    assert seen["scroll"] <= 390, "nothing makes the page wider than the window"
    light = sum(map(int, re.findall(r"\d+", seen["background"])[:3]))
    ink = sum(map(int, re.findall(r"\d+", seen["text"])[:3]))
    assert light < 150 < 500 < ink
    picture = tmp_path / "phone.png"
    browse(
        world_report,
        tmp_path,
        f"--screenshot={picture}",
        "--window-size=390,1600",
        "--blink-settings=preferredColorScheme=0",
    )
    import cv2

    image = cv2.imread(str(picture))
    assert image.shape[1] == 390
    assert image.std() > 5, "not a blank page"


def test_several_runs_with_long_names_fit_a_phone(make_run, tmp_path: Path) -> None:
    long = make_run("long", system="x" * 300, tracks=("walk_0", "b_0"))
    other = make_run("other", level=70, tracks=("walk_0", "b_0"))
    report = write_report(load_runs([str(long), str(other)]), tmp_path / "r.html").path
    seen = probe(report, tmp_path, phone=True)
    assert seen["problems"] == []
    assert seen["scroll"] <= 390, "nothing makes the page wider, not even words for screen readers"
    assert 0 < seen["firstColumn"] < 250, "the numbers beside a long name are in sight"


def test_a_frame_without_neighbours_is_a_dot(make_run, tmp_path: Path) -> None:
    report = write_report(load_runs([str(make_run("one", frames=1, tracks=("t",)))]), tmp_path / "r.html")
    (tmp_path / "probed.html").write_text(
        report.path.read_text(encoding="utf-8").replace("<title>", WATCH + "<title>", 1), encoding="utf-8"
    )
    shown = browse(tmp_path / "probed.html", tmp_path, "--dump-dom")
    assert 'data-ready="true"' in shown
    assert shown.count('<circle class="dot s0"') == 1


# Before the page reads its data: one track grows to more frames than a function takes arguments.
GROW = """<script>
const parse = JSON.parse, many = 200000;
JSON.parse = (text) => {
  const data = parse(text);
  for (const track of data["g0-timeline"].tracks) {
    track.frames = Array.from({ length: many }, (_, i) => i);
    for (const key in track.values) track.values[key] = [btoa("\\x01\\x02".repeat(many))];
  }
  return data;
};
</script>"""


def test_a_track_of_very_many_frames_is_drawn(make_run, tmp_path: Path) -> None:
    report = write_report(
        load_runs([str(make_run("big", frames=1, tracks=("t",)))]), tmp_path / "r.html"
    ).path
    text = report.read_text(encoding="utf-8").replace("<title>", GROW + "<title>", 1)
    report.write_text(text, encoding="utf-8")
    shown = browse(report, tmp_path, "--dump-dom")
    assert 'max="199999"' in shown
    assert 'data-ready="true"' in shown, "scripts ran to their end"


def test_hostile_names_do_nothing(make_run, tmp_path: Path) -> None:
    evil = "<img src=x onerror=problems.push(1)>"
    run = make_run("evil", system=evil, tracks=(evil, "b_0"))
    report = write_report(load_runs([str(run)]), tmp_path / "r.html").path
    seen = probe(report, tmp_path)
    assert seen["problems"] == []
    assert seen["rows"] == 40
