"""Small scenes for the tests of the renderer and the visibility rules; a tiny dataset for those of its writer."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from hpsbench.pipeline.prepare import prepare
from hpsbench.store.reader import ClipStore, open_store
from hpsbench.synth.scene import Scene, make_scene
from hpsbench.synth.world import synthesize_raw

MakeScene = Callable[..., Scene]


@pytest.fixture(scope="session")
def make_small_scene() -> MakeScene:
    """Factory of scenes of a few frames; the same for the same arguments."""

    def make(
        seed: int = 0,
        frames: int = 4,
        persons: int = 1,
        occluders: bool = False,
        kind: str | None = "walking",
    ) -> Scene:
        people, motions, backgrounds, cameras = (np.random.default_rng((seed, n)) for n in range(4))
        return make_scene(
            frames,
            people=people,
            motions=motions,
            backgrounds=backgrounds,
            cameras=cameras,
            persons=persons,
            kind=kind,
            occluders=occluders,
        )

    return make


@pytest.fixture(scope="module")
def root(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data root with the dataset that the test module names as `KEY`: raw files and store."""
    folder = tmp_path_factory.mktemp("root")
    synthesize_raw(request.module.KEY, folder)
    prepare(request.module.KEY, folder)
    return folder


@pytest.fixture(scope="module")
def store(request: pytest.FixtureRequest, root: Path) -> ClipStore:
    """The store of that dataset."""
    return open_store(root / "stores" / f"{request.module.KEY}.zarr")
