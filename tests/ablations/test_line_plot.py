from xml.etree import ElementTree

from hpsbench.ablations.line_plot import Curve, Panel, line_plot

SVG = "{http://www.w3.org/2000/svg}"


def drawn(panels: list[Panel]) -> ElementTree.Element:
    text = line_plot("a <title>", panels, x_label="x", y_label="mm", x_names=[(0, "clean"), (1, "1")])
    return ElementTree.fromstring(text)


def test_every_point_is_drawn_and_says_its_value() -> None:
    curve = Curve(series="a & b", points=((0, 1.0, None), (1, 3.0, (2.5, 3.5))))
    root = drawn([Panel(title="noise", curves=(curve,)), Panel(title="jpeg", curves=())])
    said = [title.text for title in root.iter(f"{SVG}title")]
    assert said == ["a & b", "a & b: 1.00", "a & b: 3.00 [2.50, 3.50]"]
    texts = [text.text for text in root.iter(f"{SVG}text")]
    assert {"a <title>", "noise", "jpeg", "clean"} <= set(texts)


def test_points_lie_inside_and_higher_values_higher() -> None:
    curve = Curve(series="a", points=((0, -4.0, None), (1, 7.0, None)))
    root = drawn([Panel(title="", curves=(curve,))])
    marks = [p.get("d") or "" for p in root.iter(f"{SVG}path") if p.find(f"{SVG}title") is not None][1:]
    heights = [float(mark.split("a3.5")[0].split()[1]) for mark in marks]
    assert heights[1] < heights[0]
    assert all(0 < y < float(root.get("height", 0)) for y in heights)


def test_equal_values_are_no_trouble() -> None:
    assert drawn([Panel(title="", curves=(Curve(series="a", points=((0, 5.0, None),)),))]) is not None


def test_long_titles_and_names_are_not_cut_off() -> None:
    title = "pa_mpjpe: Sequence length sweep on synthetic mpi-inf-3dhp under tcmr@1 (PARTIAL)"
    name = "median:vibe-generator-s0-8f9b5ba5ae (trained on 16), a longer name than the panel is wide"
    panel = Panel(title="", curves=(Curve(series=name, points=((0, 5.0, None),)),))
    for given, room in (
        (title, 10 + 9 * len(title)),
        ("short", 44 + 6.5 * len(name)),
    ):  # DejaVu Sans, measured
        text = line_plot(given, [panel], x_label="x", y_label="mm", x_names=[(0, "clean")])
        assert float(ElementTree.fromstring(text).get("width", 0)) >= room
