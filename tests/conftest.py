"""Fixtures that every room shares: the sample files, and one small prepared world per test process."""

from pathlib import Path

import pytest

SAMPLES = Path(__file__).resolve().parents[2] / "shared" / "samples"


@pytest.fixture(scope="session")
def samples() -> Path:
    """Folder of small real files beside the checkout; tests that need it carry the marker `samples`."""
    if not SAMPLES.is_dir():
        pytest.skip(f"no sample files at {SAMPLES}")
    return SAMPLES


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that need a GPU skip without one, with the reason."""
    wanting = [item for item in items if item.get_closest_marker("gpu")]
    if not wanting:
        return
    import torch

    if not torch.cuda.is_available():
        for item in wanting:
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))


@pytest.fixture(scope="session")
def tiny_world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data root with synthetic `tiny` 3DPW: raw files, store, clean features. Read only: copy before changing."""
    from hpsbench.pipeline.extract import extract
    from hpsbench.pipeline.prepare import prepare
    from hpsbench.synth.world import synthesize_raw

    root = tmp_path_factory.mktemp("world")
    synthesize_raw("3dpw", root, size="tiny", seed=0, workers=1)
    prepare("3dpw", root, workers=1)
    extract(root / "stores" / "3dpw.zarr", root, view="tcmr", extractor="embedded", workers=1)
    return root
