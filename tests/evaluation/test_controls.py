"""Controls: what must not work does not work, on the synthetic world with its renderer and encoder."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hpsbench.evaluation.run import evaluate
from hpsbench.evaluation.statistics import paired_ratio
from hpsbench.features.backbones import get_extractor
from hpsbench.models._catalog import load_system
from hpsbench.pipeline.extract import extract
from hpsbench.pipeline.prepare import prepare
from hpsbench.protocols.catalog import get_protocol
from hpsbench.results.result import Result
from hpsbench.store.feature_sets import FeatureSetWriter
from hpsbench.store.reader import ClipStore, open_store
from hpsbench.synth.world import synthesize_raw
from hpsbench.training.constant import fit_mean_pose

FEATURES = "embedded-tcmr"


def copy_store(root: Path, target: Path) -> ClipStore:
    import shutil

    shutil.copytree(root / "stores", target / "stores")
    (target / "body_models").symlink_to(root / "body_models")
    return open_store(target / "stores" / "3dpw.zarr")


def add_features(store: ClipStore, name: str, data: np.ndarray) -> str:
    """A set with the clean one's rows and attributes, and these values."""
    clean = store.features[FEATURES]
    writer = FeatureSetWriter.create(
        store.path,
        name,
        rows=clean.row,
        dim=clean.dim,
        attrs={k: v for k, v in clean.attrs.items() if k != "complete"},
    )
    for chunk in writer.open_chunks():
        rows = writer.rows_of(chunk)
        writer.write(chunk, data[np.searchsorted(clean.row, rows)].astype(np.float32))
    writer.finish()
    return name


def controls(root: Path, target: Path) -> dict[str, Result]:
    """The frame-based baseline on clean, black and shuffled images, and the mean pose."""
    store = copy_store(root, target)
    clean = np.asarray(store.features[FEATURES].data[:])
    network = get_extractor("embedded", root)
    black = network(np.zeros((1, network.size, network.size, 3), np.uint8))
    # half a store away lies another clip, of another person
    sets = {
        "clean": FEATURES,
        "black": add_features(store, "embedded-tcmr-black", np.repeat(black, len(clean), axis=0)),
        "shuffled": add_features(store, "embedded-tcmr-shuffled", np.roll(clean, len(clean) // 2, axis=0)),
    }
    store = open_store(store.path)
    system = load_system("embedded-spin")
    results = {
        name: evaluate(system, "tcmr", store, root=root, features=chosen) for name, chosen in sets.items()
    }
    for split, name in (("train", "mean"), ("test", "best-constant")):
        fitted = load_system(
            fit_mean_pose(store, root, view="tcmr", split=split, out=target / f"{name}.safetensors")
        )
        results[name] = evaluate(fitted, "tcmr", store, root=root)
    average = fit_mean_pose(store, root, view="tcmr", steps=0, out=target / "average.safetensors")
    results["average"] = evaluate(load_system(average), "tcmr", store, root=root)
    return results


def test_without_the_right_image_the_baseline_knows_no_more_than_a_constant(
    tiny_world: Path, tmp_path: Path
) -> None:
    found = {name: float(result.summary["mpjpe"]) for name, result in controls(tiny_world, tmp_path).items()}
    # On so few frames any constant may beat the one that was fitted on other people, but not the one fitted on these.
    assert found["black"] > 0.99 * found["best-constant"]
    assert found["shuffled"] > 0.99 * found["best-constant"]
    assert found["clean"] < 0.95 * found["black"]
    assert found["clean"] < 0.95 * found["shuffled"]


def test_a_track_that_the_visibility_rule_cuts_is_bridged_as_released_and_not_under_break(
    tiny_world: Path,
) -> None:
    store = open_store(tiny_world / "stores" / "3dpw.zarr")
    system = load_system("embedded-spin")
    keep = store.views["tcmr"].keep
    cut = [t for t in store.tracks("test") if (np.diff(np.flatnonzero(keep[t.rows])) > 1).any()]
    assert cut, "the tiny world has a track with frames removed in its middle"
    for name in ("tcmr", "vibe"):
        protocol = get_protocol(name)
        rule = protocol.rule("3dpw")
        assert rule.gaps == "bridge"
        broken = replace(protocol, rules={"3dpw": replace(rule, gaps="break")})
        bridged = evaluate(system, protocol, store, root=tiny_world, features=FEATURES)
        apart = evaluate(system, broken, store, root=tiny_world, features=FEATURES)
        scored = {"bridged": bridged.accounting["scored"], "apart": apart.accounting["scored"]}
        frames = {"bridged": bridged.summary["accel_pred"].n, "apart": apart.summary["accel_pred"].n}
        assert scored["apart"] < scored["bridged"] or frames["apart"] < frames["bridged"]
        assert bridged.accounting["in"] == apart.accounting["in"]


@pytest.fixture(scope="module")
def small_world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("small")
    synthesize_raw("3dpw", root, size="small", seed=0, workers=2)
    prepare("3dpw", root, workers=2)
    extract(root / "stores" / "3dpw.zarr", root, view="tcmr", extractor="embedded", workers=2)
    return root


@pytest.mark.full
def test_the_frame_based_baseline_is_clearly_better_than_the_mean_pose(
    small_world: Path, tmp_path: Path
) -> None:
    found = controls(small_world, tmp_path)
    # The constant that minimises the training error, and for errors after alignment also the average pose.
    for metric, most, floor in (
        ("mpjpe", 0.75, "mean"),
        ("pa_mpjpe", 0.85, "mean"),
        ("pa_mpjpe", 0.85, "average"),
    ):
        ratio = found["clean"].summary[metric] / found[floor].summary[metric]
        assert ratio <= most, f"{metric} over {floor}: {ratio:.3f}"
        keys = ["track", "frame_id"]
        both = (
            found["clean"]
            .frames.merge(found[floor].frames, on=keys, suffixes=("", "_mean"))
            .dropna(subset=[metric])
        )
        compared = paired_ratio(both[metric], both[f"{metric}_mean"], both["sequence"])
        assert compared.interval is not None
        assert compared.interval[1] < 1, f"{metric}: {compared}"
    for name in ("black", "shuffled"):
        assert found[name].summary["mpjpe"] >= found["mean"].summary["mpjpe"], name
