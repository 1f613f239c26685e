"""The whole flow on the synthetic world: raw data, store, features, corruption, training, evaluation, one table.

Every step is the public function that the command line calls, and every step resumes.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hpsbench.evaluation.run import evaluate
from hpsbench.models._catalog import load_system
from hpsbench.pipeline.corrupt import corrupt
from hpsbench.pipeline.extract import extract
from hpsbench.pipeline.prepare import prepare
from hpsbench.protocols.catalog import get_protocol
from hpsbench.reports.contact_sheet import contact_sheet
from hpsbench.results.result import Result
from hpsbench.store.reader import open_store
from hpsbench.synth.world import synthesize_raw
from hpsbench.training.constant import fit_mean_pose
from hpsbench.training.loop import train

DATASET, VIEW, PROTOCOL, EXTRACTOR = "3dpw", "tcmr", "tcmr", "embedded"
RATIO, MODE = 0.33, "center"

Watch = Callable[[str, str], Any]
"""Called as (step, unit) when a step begins; gives a context whose value is the step's progress callback."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One cell row of the demo's table."""

    system: str
    trained_on: str
    condition: str
    result: Result
    folder: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Demo:
    """What the demo made.

    Attributes:
        rows: one evaluation each.
        paths: name -> what was written where.
        seconds: step -> duration.
    """

    rows: list[Row] = field(default_factory=list)
    paths: dict[str, Path] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)


def run_demo(root: Path, *, size: str = "small", seed: int = 0, workers: int = 2, watch: Watch) -> Demo:
    """Run the whole flow under `root`; a second run finds what the first one made.

    Args:
        root: data root; synthetic raw data, store, checkpoints and runs go there.
        size: of the synthetic dataset.
        seed: of the synthetic data, the corruption and the training.
        workers: processes and threads for the steps that can use them.
        watch: shows a person what is going on.
    """
    demo = Demo()

    @contextmanager
    def step(name: str, unit: str = "") -> Iterator[Any]:
        begun = time.perf_counter()
        with watch(name, unit) as progress:
            yield progress
        demo.seconds[name] = time.perf_counter() - begun

    with step("synthesize raw 3DPW", "frames") as bar:
        synthesize_raw(DATASET, root, size=size, seed=seed, workers=workers, progress=bar)
    with step("prepare the clip store", "sequences") as bar:
        prepare(DATASET, root, workers=1, progress=bar)
    path = root / "stores" / f"{DATASET}.zarr"
    with step("extract image features", "frames") as bar:
        clean = extract(path, root, view=VIEW, extractor=EXTRACTOR, workers=workers, progress=bar).features
    with step("corrupt every split", "frames") as bar:
        job = corrupt(
            path,
            root,
            mode=MODE,
            ratio=RATIO,
            seed=seed,
            splits=None,
            view=VIEW,
            workers=workers,
            progress=bar,
        )
    corrupted = job.features
    store = open_store(path)
    with step("fit the mean pose"):
        mean_pose = fit_mean_pose(store, root, view=VIEW)
    with step("train a temporal system", "steps") as bar:
        run = train("vibe-generator", root, features=corrupted, seed=seed, progress=bar)
    systems = [
        ("mean pose (constant)", "clean poses", str(mean_pose)),
        ("frame-based (SPIN head)", "clean", "embedded-spin"),
        ("temporal (VIBE generator)", "corrupted", str(run.checkpoint)),
    ]
    with step("evaluate", "evaluations") as bar:
        for number, (name, trained_on, model) in enumerate(systems):
            for which, features in (("clean", clean), (f"{MODE} {RATIO:.0%}", corrupted)):
                folder = root / "runs" / f"demo-{Path(model).parent.name or model}-{which.split()[0]}"
                folder = root / "runs" / f"demo-{name.split()[0]}-{which.split()[0]}"
                result = evaluate(
                    load_system(model, root=root), get_protocol(PROTOCOL), store, root=root, features=features
                )
                result.save(folder)
                demo.rows.append(
                    Row(system=name, trained_on=trained_on, condition=which, result=result, folder=folder)
                )
                bar(len(demo.rows), 2 * len(systems), f"{name}, {which}, {number}")
    with step("draw the contact sheet"):
        demo.paths["picture"] = contact_sheet(
            store,
            root,
            {name: load_system(model, root=root) for name, _, model in systems[1:]},
            features={"clean": clean, "corrupted": corrupted},
            view=VIEW,
            out=root / "demo.png",
        )
    demo.paths |= {"raw data": root / "raw" / DATASET, "clip store": path, "training run": run.folder}
    return demo
