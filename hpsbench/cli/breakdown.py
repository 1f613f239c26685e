"""`hpsbench breakdown`: where the error of a result is, and its worst frames."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hpsbench.cli.console import emit_json, note, table
from hpsbench.cli.options import HERE, AsJson, Root

if TYPE_CHECKING:
    from hpsbench.evaluation.breakdown import Breakdown, Frame
    from hpsbench.results.result import Result

_WORST = "worst"
# Columns of the table of frames as headings.
_SHORT = {
    "visible_keypoints": "visible keypoints",
    "corrupted_distance": "frames to corrupted",
    "speed": "speed mm/frame",
}


def register(app: typer.Typer) -> None:
    """Add the verb to the app."""
    app.command("breakdown")(breakdown_command)


def breakdown_command(
    run: Annotated[str, typer.Argument(help="A result: its folder, or its name under R/runs.")],
    by: Annotated[
        list[str] | None,
        typer.Option(
            "--by",
            help="sequence, joint, action, visibility, speed, corruption, worst; may be given several times. Default: all.",
        ),
    ] = None,
    metric: Annotated[
        list[str] | None,
        typer.Option("--metric", help="Only these; the worst frames are those of the first."),
    ] = None,
    worst: Annotated[int, typer.Option("--worst", min=1, help="How many of the worst frames.")] = 10,
    images: Annotated[
        Path | None,
        typer.Option("--images", help="Write the crops of the worst frames to this folder, as JPEG files."),
    ] = None,
    root: Root = HERE,
    json: AsJson = False,
) -> None:
    """Break the means of a result down by sequence, joint, action, visibility, speed or corruption."""
    from hpsbench.errors import UnknownName
    from hpsbench.evaluation.breakdown import breakdown, list_breakdowns, worst_frames
    from hpsbench.results.result import find_result, load_result

    names = [*list_breakdowns(), _WORST]
    wanted = by or names
    for name in wanted:
        if name not in names:
            raise UnknownName("breakdown", name, names)
    folder = find_result(run, root)
    result = load_result(folder)
    found = [breakdown(result, name, metrics=metric) for name in wanted if name != _WORST]
    of = metric[0] if metric else next(iter(result.summary), None)
    frames = worst_frames(result, of, count=worst) if _WORST in wanted and of is not None else []
    files = []
    if images is not None:
        from hpsbench.evaluation.worst_images import save_worst_images

        files = save_worst_images(result, frames, root, images)
    if json:
        document: dict[str, object] = {"result": folder, "breakdowns": [one.to_json() for one in found]}
        emit_json(
            {
                **document,
                "worst": {"metric": of, "frames": [frame.to_json() for frame in frames], "files": files},
            }
        )
        return
    for one in found:
        if one.why_none is None or by:
            _show(one)
        else:
            note(f"[dim]by {one.by}: none, {one.why_none}[/]")
    if frames:
        _show_worst(result, str(of), frames)
    for path in files:
        note(str(path))


def _show(found: "Breakdown") -> None:
    if found.why_none is not None:
        note(f"by {found.by}: none, {found.why_none}")
        return
    columns = [found.title, "frames", *(f"{name} {unit}" for name, unit in found.units.items())]
    rows = [
        [group.name, group.frames, *(_cell(group.means.get(name)) for name in found.units)]
        for group in found.groups
    ]
    table(f"by {found.by}", columns, rows, right=columns[1:])


def _cell(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _show_worst(result: "Result", metric: str, frames: "list[Frame]") -> None:
    known = list(dict.fromkeys(name for frame in frames for name in frame.context))
    rows = [
        [
            frame.track,
            frame.frame_id,
            f"{frame.value:.2f}",
            *(_known(frame.context.get(name)) for name in known),
            frame.image or "",
        ]
        for frame in frames
    ]
    shown = [_SHORT.get(name, name) for name in known]
    columns = ["track", "frame", f"{metric} {result.summary[metric].unit}", *shown, "image"]
    table(f"the {len(frames)} worst frames", columns, rows, right=("frame", columns[2], *shown))


def _known(value: object) -> str:
    return "" if value is None else f"{value:.1f}" if isinstance(value, float) else str(value)
