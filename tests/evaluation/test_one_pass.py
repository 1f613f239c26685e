"""The shared pass gives what each metric's own function gives."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from hpsbench.evaluation.frames import FramePlan, plan_frames
from hpsbench.evaluation.measures import VertexValues, joint_values, measure
from hpsbench.evaluation.one_pass import run_pass
from hpsbench.evaluation.values import Side
from hpsbench.protocols.catalog import get_protocol, list_protocols
from hpsbench.protocols.protocol import Rule


def rules() -> Iterator[Any]:
    for name in list_protocols():
        for dataset, rule in get_protocol(name).rules.items():
            yield pytest.param(rule, id=f"{name}-{dataset}")


def sides(rule: Rule, plan: FramePlan, rng: np.random.Generator, dtype: Any) -> tuple[Side, Side]:
    count = len(rule.target.joints)
    made = []
    for _ in range(2):
        joints: Any = rng.normal(0, 0.3, (len(plan), count, 3)).astype(dtype)
        joints[~plan.predicted] = np.nan
        made.append(Side(joints=joints, root=joints[:, 1].astype(np.float64)))
    return made[0], made[1]


def plan_of(rule: Rule, rng: np.random.Generator) -> FramePlan:
    track = np.repeat(["a_0", "b_0", "c_1", "b_1"], [40, 3, 200, 17])
    seen, scored = rng.random((2, len(track))) < 0.9
    return plan_frames(rule, track, seen=seen, scored=scored)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("rule", list(rules()))
def test_the_pass_is_each_function_by_itself(rule: Rule, dtype: Any) -> None:
    rng = np.random.default_rng(3)
    plan = plan_of(rule, rng)
    pred, target = sides(rule, plan, rng, dtype)
    shared = run_pass(rule, rule.metrics, plan, pred, target)
    nothing = VertexValues(rule=rule, rows=len(plan))
    in_pass = 0
    for metric in rule.metrics:
        found = shared.values(metric)
        if found is None:
            continue
        in_pass += 1
        alone = measure(metric, rule, plan, pred, target, nothing)
        np.testing.assert_array_equal(found.weight, alone.weight)
        np.testing.assert_allclose(found.value, alone.value, rtol=1e-9, atol=1e-9)
        distances = shared.distances(metric)
        if distances is not None:
            np.testing.assert_allclose(
                distances, joint_values(metric, plan, pred, target), rtol=1e-5, atol=1e-3
            )
            np.testing.assert_allclose(distances.mean(axis=1), found.value[plan.scored], rtol=1e-5)
    names = {metric.name for metric in rule.metrics}
    assert in_pass == len(names & {"mpjpe", "pa_mpjpe", "accel_err", "accel_err_si", "accel_pred"})


def test_no_predicted_row_gives_nothing() -> None:
    rule = get_protocol("tcmr").rule("3dpw")
    track = np.repeat(["a_0"], 5)
    plan = plan_frames(rule, track, seen=np.ones(5, bool), scored=np.ones(5, bool))
    side = Side(joints=np.zeros((5, 14, 3)), root=np.zeros((5, 3)))
    shared = run_pass(rule, rule.metrics, plan, side, side)
    assert all(shared.values(metric) is None for metric in rule.metrics)


def test_a_protocol_without_a_root_takes_none_off() -> None:
    rule = get_protocol("tcmr").rule("3dpw")
    none = replace(rule.target.root, text="none", of="none", rows=())
    rule = replace(rule, target=replace(rule.target, root=none), pred=replace(rule.pred, root=none))
    rng = np.random.default_rng(0)
    plan = plan_frames(rule, np.repeat(["a_0"], 20), seen=np.ones(20, bool), scored=np.ones(20, bool))
    pred, target = (Side(joints=rng.normal(0, 0.3, (20, 14, 3)), root=None) for _ in range(2))
    shared = run_pass(rule, rule.metrics, plan, pred, target)
    expected = 1000 * np.linalg.norm(pred.joints - target.joints, axis=-1).mean(-1)
    found = shared.values(rule.metrics[0])
    assert found is not None
    np.testing.assert_allclose(found.value, expected)
