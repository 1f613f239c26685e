"""The whole flow on the synthetic world: raw data, store, features, corruption, training, evaluation, one table.

Every step is the public function that the command line calls, and every step resumes.
"""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hpsbench.evaluation.run import evaluate
from hpsbench.models._catalog import load_system
from hpsbench.pipeline.corrupt import corrupt
from hpsbench.pipeline.extract import extract
from hpsbench.pipeline.prepare import prepare
from hpsbench.reports.contact_sheet import contact_sheet
from hpsbench.results.result import Result
from hpsbench.store.reader import ClipStore, open_store
from hpsbench.synth.world import plan_world, synthesize_raw
from hpsbench.training.constant import fit_mean_pose
from hpsbench.training.loop import train

DATASET, VIEW, PROTOCOL, EXTRACTOR = "3dpw", "tcmr", "tcmr", "embedded"
RATIO, MODE = 0.33, "center"
FRAME_BASED, TEMPORAL = "frame-based (SPIN head)", "temporal (VIBE generator)"

Watch = Callable[[str, str], AbstractContextManager[Any]]
"""Called as (step, unit) when a step begins; gives a context whose value is the step's progress callback."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One row of the demo's table: a system, what it was trained and tested on, and its result."""

    system: str
    trained_on: str
    tested_on: str
    result: Result
    folder: Path


@dataclass(slots=True, kw_only=True)
class Demo:
    """What the demo made.

    Attributes:
        rows: one evaluation each.
        findings: what the numbers say, in words.
        paths: name -> what was written where.
        seconds: step -> duration.
    """

    rows: list[Row] = field(default_factory=list)
    findings: list[str] = field(default_factory=list)
    paths: dict[str, Path] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    def to_json_dict(self) -> dict[str, Any]:
        """For JSON."""
        rows = [
            {
                "system": row.system,
                "trained_on": row.trained_on,
                "tested_on": row.tested_on,
                "folder": str(row.folder),
                **row.result.to_json(),
            }
            for row in self.rows
        ]
        paths = {name: str(path) for name, path in self.paths.items()}
        return {
            "synthetic": True,
            "rows": rows,
            "findings": self.findings,
            "paths": paths,
            "seconds": self.seconds,
        }


def plan_demo(root: Path, *, size: str = "small") -> list[str]:
    """The steps of `run_demo` in words; touches nothing."""
    world = plan_world(DATASET, root, size=size)
    return [
        f"write synthetic {DATASET} ({size}): {world['summary']} to {world['folder']}",
        f"prepare {root / 'stores' / DATASET}.zarr, extract features {EXTRACTOR}-{VIEW}",
        f"corrupt every split: {MODE}, one third of the frames",
        "fit the mean pose; train a frame-based and a temporal system on the corrupted features",
        f"evaluate each under {PROTOCOL} on clean and on corrupted features",
        f"draw {root / 'demo.png'}",
    ]


def run_demo(root: Path, *, size: str = "small", seed: int = 0, workers: int = 2, watch: Watch) -> Demo:
    """Run the whole flow under `root`; a second run finds what the first one made.

    Args:
        root: data root; synthetic raw data, store, checkpoints and runs go there.
        size: of the synthetic dataset; `tiny` only shows that everything runs (a few training steps, no intervals).
        seed: of the synthetic data, the corruption and the training.
        workers: processes and threads for the steps that can use them.
        watch: shows a person what is going on.
    """
    demo = Demo()

    def do(name: str, unit: str, work: Callable[[Any], Any]) -> Any:
        begun = time.perf_counter()
        with watch(name, unit) as bar:
            done = work(bar)
        demo.seconds[name] = time.perf_counter() - begun
        return done

    do(
        "synthesize",
        "frames",
        lambda bar: synthesize_raw(DATASET, root, size=size, seed=seed, workers=workers, progress=bar),
    )
    do("prepare", "sequences", lambda bar: prepare(DATASET, root, workers=workers, progress=bar))
    path = root / "stores" / f"{DATASET}.zarr"
    features = _features(path, root, seed, workers, do)
    store = open_store(path)
    models = _train(store, root, features["corrupted"], seed, size == "tiny", do)
    do("evaluate", "evaluations", lambda bar: _evaluate(demo, store, root, models, features, bar))
    drawn = {
        name: load_system(model, root=root)
        for name, trained_on, model in models
        if trained_on == "corrupted clips"
    }
    sheet = root / "demo.png"
    do(
        "draw",
        "",
        lambda _: contact_sheet(store, root, drawn, features=features, view=VIEW, out=sheet),
    )
    demo.findings += _losses_to_corruption(demo.rows)
    demo.paths |= {
        "raw data": root / "raw" / DATASET,
        "clip store": path,
        "checkpoints": root / "runs",
        "results": demo.rows[0].folder.parent,
        "picture": sheet,
    }
    return demo


def _features(path: Path, root: Path, seed: int, workers: int, do: Callable[..., Any]) -> dict[str, str]:
    """Names of the clean and the corrupted feature set of all splits."""
    clean = do(
        "extract",
        "frames",
        lambda bar: extract(path, root, view=VIEW, extractor=EXTRACTOR, workers=workers, progress=bar),
    )
    corrupted = do(
        "corrupt",
        "frames",
        lambda bar: corrupt(
            path,
            root,
            mode=MODE,
            ratio=RATIO,
            seed=seed,
            splits=None,
            view=VIEW,
            workers=workers,
            progress=bar,
        ),
    )
    return {"clean": clean.features, "corrupted": corrupted.features}


def _train(
    store: ClipStore, root: Path, corrupted: str, seed: int, tiny: bool, do: Callable[..., Any]
) -> list[tuple[str, str, str]]:
    """(system, trained on, model) of every system in the table."""
    mean_pose = do("fit the mean pose", "", lambda _: fit_mean_pose(store, root, view=VIEW))
    runs = {
        name: do(
            f"train {name}",
            "steps",
            lambda bar, name=name: train(name, root, features=corrupted, seed=seed, tiny=tiny, progress=bar),
        )
        for name in ("spin-head", "vibe-generator")
    }
    return [
        ("mean pose (constant)", "annotated poses", str(mean_pose)),
        (FRAME_BASED, "other renders", "embedded-spin"),
        (FRAME_BASED, "corrupted clips", str(runs["spin-head"].checkpoint)),
        (TEMPORAL, "corrupted clips", str(runs["vibe-generator"].checkpoint)),
    ]


def _evaluate(
    demo: Demo,
    store: ClipStore,
    root: Path,
    models: list[tuple[str, str, str]],
    features: dict[str, str],
    bar: Any,
) -> None:
    for name, trained_on, model in models:
        system = load_system(model, root=root)
        for tested_on, chosen in features.items():
            result = evaluate(system, PROTOCOL, store, root=root, features=chosen)
            label = f"{name.split()[0]}-{trained_on.split()[0]}-on-{tested_on}"
            folder = result.save(root / "runs" / "demo" / label)
            row = Row(system=name, trained_on=trained_on, tested_on=tested_on, result=result, folder=folder)
            demo.rows.append(row)
            bar(len(demo.rows), len(models) * len(features), label)


def _losses_to_corruption(rows: list[Row]) -> list[str]:
    """What each system loses when the test features are corrupted, in words."""
    lines = []
    for clean, corrupted in zip(rows[::2], rows[1::2], strict=True):
        if clean.system.startswith("mean"):
            continue
        lost = {
            key: corrupted.result.summary[key] - clean.result.summary[key] for key in ("mpjpe", "accel_err")
        }
        lines.append(
            f"{clean.system}, trained on {clean.trained_on}: corruption costs {lost['mpjpe']:+.1f} mm MPJPE "
            f"({lost['mpjpe'] / clean.result.summary['mpjpe']:+.0%}) and {lost['accel_err']:+.1f} mm/frame^2 Accel-err"
        )
    return lines
