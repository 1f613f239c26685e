"""One message each: what, where, what to do; the documented exit code; nothing damaged."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

Run = Callable[..., Any]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("ls", "dataset"), 2, "Did you mean 'datasets'"),
        (("prepare", "3dwp"), 2, "Did you mean '3dpw'"),
        (("prepare", "3dpw"), 3, "read and accept the terms"),
        (("evaluate", "--model", "ckpt.pt", "--protocol", "tcmr"), 3, "no clip store"),
        (("corrupt", "--ratio", "0.33"), 3, "no clip store"),
        (("train", "vibe-generater"), 2, "Did you mean 'vibe-generator'"),
        (("train", "vibe-generator", "--set", "epochs"), 2, "key=value"),
        (("synth", "h37m"), 2, "unknown"),
        (("nonsense",), 2, "No such command"),
    ],
)
def test_slips_get_one_message_and_their_code(
    run_cli: Run, tmp_path: Path, arguments: tuple[str, ...], code: int, words: str
) -> None:
    root = () if arguments == ("nonsense",) or arguments[0] == "ls" else ("--root", tmp_path)
    done = run_cli(*arguments, *root)
    assert done.code == code, done.err
    assert words in done.err.replace("\n", " ")
    assert "Traceback" not in done.err
    assert done.out == ""


def test_missing_root_is_named(run_cli: Run, tmp_path: Path) -> None:
    done = run_cli("prepare", "3dpw", "--root", tmp_path / "nowhere")
    assert done.code == 3
    assert "nowhere" in done.err


def test_a_damaged_sequence_is_told_with_what_helps(run_cli: Run, tmp_path: Path) -> None:
    raw = tmp_path / "raw" / "3dpw"
    (raw / "sequenceFiles" / "test").mkdir(parents=True)
    (raw / "imageFiles").mkdir()
    (raw / "sequenceFiles" / "test" / "a_00.pkl").write_bytes(b"no pickle")
    mark = {"format": "hpsbench-synthetic", "version": 1, "dataset": "3dpw", "size": "tiny", "seed": 0}
    (raw / "hpsbench-synthetic.json").write_text(json.dumps(mark))
    done = run_cli("prepare", "3dpw", "--root", tmp_path)
    assert done.code == 5
    told = " ".join(done.err.split())
    assert "a_00.pkl: not a readable pickle" in told
    assert "add --skip-bad to leave it out" in told


def test_unknown_mode_and_impossible_ratio(run_cli: Run, world: Path) -> None:
    assert (
        "Did you mean 'center'"
        in run_cli("corrupt", "--ratio", "0.33", "--mode", "centr", "--root", world).err
    )
    assert run_cli("corrupt", "--ratio", "1.5", "--root", world).code == 2


def test_unknown_checkpoint_layout_is_refused(run_cli: Run, world: Path) -> None:
    import torch

    path = world / "strange.pt"
    torch.save({"weights": torch.zeros(2)}, path)
    done = run_cli("evaluate", "--model", path, "--root", world)
    assert done.code == 5
    assert "no known system" in done.err.replace("\n", " ")


def test_a_checkpoint_that_runs_code_is_refused_by_name(run_cli: Run, world: Path) -> None:
    import pickle

    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            import os

            return os.system, ("true",)

    path = world / "evil.pt"
    path.write_bytes(pickle.dumps({"model": Evil()}))
    done = run_cli("evaluate", "--model", path, "--root", world)
    assert done.code == 5
    assert "system" in done.err


def test_a_store_of_another_version_is_refused(run_cli: Run, world: Path) -> None:
    path = world / "stores" / "3dpw.zarr" / "zarr.json"
    document = json.loads(path.read_text(encoding="utf-8"))
    document["attributes"]["version"] = 99
    path.write_text(json.dumps(document), encoding="utf-8")
    done = run_cli("evaluate", "--model", "embedded-spin", "--root", world)
    assert done.code == 5
    assert "99" in done.err


def test_a_missing_body_model_says_where_it_belongs(run_cli: Run, world: Path) -> None:
    import shutil

    shutil.rmtree(world / "body_models")
    done = run_cli("evaluate", "--model", "embedded-spin", "--root", world)
    assert done.code == 3
    assert "body_models" in done.err


def test_features_of_another_width_are_refused(run_cli: Run, world: Path) -> None:
    from hpsbench.models._checkpoints import save_checkpoint
    from hpsbench.models.spin import Spin

    path = save_checkpoint(Spin(feature_width=32, hidden=8), world / "narrow.safetensors")
    done = run_cli("evaluate", "--model", path, "--root", world, "--features", "embedded-tcmr")
    assert done.code == 5
    assert "2048" in done.err
    assert "32" in done.err


def test_a_protocol_that_does_not_cover_the_dataset_is_refused(run_cli: Run, world: Path) -> None:
    done = run_cli(
        "evaluate", "--model", "embedded-spin", "--root", world, "--setting", "h36m-p2", "--protocol", "spin"
    )
    assert done.code == 5
    assert "3dpw" in done.err


def test_an_image_that_is_no_jpeg_is_named(run_cli: Run, world: Path, tiny_world: Path) -> None:
    import shutil

    (world / "raw").unlink()
    shutil.copytree(tiny_world / "raw", world / "raw")
    shutil.rmtree(world / "stores" / "3dpw.zarr" / "features" / "embedded-tcmr")
    image = sorted((world / "raw" / "3dpw" / "imageFiles").glob("*/image_00010.jpg"))[0]
    image.write_bytes(np.arange(100, dtype=np.uint8).tobytes())
    done = run_cli("extract", "3dpw", "--root", world)
    assert done.code == 5
    assert image.name in done.err
    image.unlink()
    done = run_cli("extract", "3dpw", "--root", world)
    assert done.code == 3
    assert image.name in done.err
