"""Small scenes for the tests of the renderer and the visibility rules."""

from collections.abc import Callable

import numpy as np
import pytest

from hpsbench.synth.scene import Scene, make_scene

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
