from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hpsbench.bodies.joints import SMPL24
from hpsbench.bodies.smpl import load_bodies
from hpsbench.evaluation.run import score_predictions
from hpsbench.evaluation.targets import refit_betas
from hpsbench.predictions.predictions import Predictions
from hpsbench.protocols.catalog import get_protocol
from hpsbench.protocols.protocol import Root


def test_betas_are_refitted_to_the_nearest_neutral_shape(world: Path) -> None:
    """No other betas of the neutral body come nearer to the gendered T-pose, and the neutral body finds itself."""
    bodies = load_bodies(world, True)
    rng = np.random.default_rng(0)
    betas = rng.normal(size=10).astype(np.float32)
    np.testing.assert_allclose(refit_betas(bodies, "neutral", betas), betas, atol=1e-3)
    fitted = refit_betas(bodies, "male", betas)
    still = np.zeros((1, 72), np.float32)
    wanted = bodies.male.vertices(still, betas[None]).numpy()

    def error(shape: np.ndarray) -> float:
        return float(
            ((bodies.neutral.vertices(still, shape[None].astype(np.float32)).numpy() - wanted) ** 2).sum()
        )

    best = error(fitted)
    assert best < error(betas)
    for _ in range(10):
        assert error(fitted + rng.normal(0, 0.1, 10)) > best


def test_annotated_joints_need_no_body(store: Any, tmp_path: Path) -> None:
    """The store's own joints as the target of joints-only predictions: no file of a body is looked for."""
    protocol = get_protocol("tcmr")
    rule = protocol.rule("3dpw")
    root = Root(text="pelvis", of="selected", rows=(0,))
    target = replace(
        rule.target,
        kind="field",
        source="joints3d",
        source_set=None,
        joints=SMPL24,
        body=None,
        mesh=None,
        root=root,
    )
    pred = replace(
        target, kind="via", source="smpl24", source_set=SMPL24, body="smpl-neutral", mesh="smpl-neutral"
    )
    own = replace(protocol, rules={"3dpw": replace(rule, target=target, pred=pred)})
    tracks = [track for track in store.tracks("test") if len(track.rows) > 16]
    predictions = Predictions(
        track=np.concatenate([[track.track] * len(track.rows) for track in tracks]),
        frame_id=np.concatenate([store.frames["frame_id"][track.rows] for track in tracks]),
        arrays={
            "joints3d": np.concatenate([store.frames["joints3d"][track.rows] for track in tracks])
            + np.float32(1)
        },
        attrs={"joint_set": "smpl24"},
    )
    result = score_predictions(own, predictions, store, root=tmp_path)
    assert result.summary["mpjpe"] == pytest.approx(0, abs=1e-3)
    assert result.absent == {"pve_raw": "the target is annotated joints, without a body"}
