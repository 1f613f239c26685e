import subprocess
import sys

import numpy as np
import pytest
import torch

from hpsbench import metrics
from hpsbench.errors import BadData, ShapeError, UnitError, UsageError

TWO_SIDED = {
    "joint_error": metrics.joint_error,
    "mpjpe": lambda p, t: metrics.mpjpe(p, t, root=[0]),
    "pa_mpjpe": metrics.pa_mpjpe,
    "pck": metrics.pck,
    "auc": metrics.auc,
    "accel_err": metrics.accel_err,
    "w_mpjpe": metrics.w_mpjpe,
    "wa_mpjpe": metrics.wa_mpjpe,
    "pve": metrics.pve,
}
ONE_SIDED = {"accel_pred": metrics.accel_pred, "jitter": lambda p: metrics.jitter(p, fps=30)}
every = pytest.mark.parametrize("name", [*TWO_SIDED, *ONE_SIDED])


def call(name, pred, target):
    return TWO_SIDED[name](pred, target) if name in TWO_SIDED else ONE_SIDED[name](pred)


@every
@pytest.mark.parametrize("shape", [(14, 3), (1, 8, 14, 3), (8, 14, 2), (8, 42), (8, 0, 3)])
def test_another_shape_is_refused(array, name, shape):
    bad = array(np.zeros(shape))
    with pytest.raises(ShapeError, match=r"pred: expected \(T, [JV], 3\), got"):
        call(name, bad, bad)


@pytest.mark.parametrize("name", TWO_SIDED)
def test_different_shapes_are_refused(name):
    with pytest.raises(ShapeError, match=r"differ in shape: \(8, 14, 3\) and \(8, 17, 3\)"):
        call(name, np.zeros((8, 14, 3)), np.zeros((8, 17, 3)))


@every
def test_millimetres_are_suspected(make_pair, array, name):
    pred, target = make_pair()
    with pytest.raises(UnitError, match=r"pred: .* are these millimetres"):
        call(name, array(1000 * pred), array(target))
    if name in TWO_SIDED:
        with pytest.raises(UnitError, match=r"target: .* are these millimetres"):
            call(name, array(pred), array(1000 * target))


@every
def test_one_diverged_frame_is_no_unit_error(make_pair, name):
    pred, target = make_pair()
    pred[3] *= 1000
    assert np.isfinite(call(name, pred, target)).all()


def test_a_long_way_through_the_world_is_no_unit_error(make_pair):
    pred, target = make_pair()
    way = np.linspace(0, 900, 30)[:, None, None] * [1, 0, 0]
    np.testing.assert_allclose(
        metrics.joint_error(pred + way, target + way), metrics.joint_error(pred, target), rtol=1e-9
    )


@every
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_refused_and_located(make_pair, array, name, value):
    pred, target = make_pair(frames=40)
    pred[[7, 23], 3, 1] = value
    with pytest.raises(BadData, match="pred: 2 of 40 frames hold NaN or infinity, the first is frame 7"):
        call(name, array(pred), array(target))


def test_not_finite_on_both_sides_is_refused(make_pair):
    pred, target = make_pair()
    pred[4, 0, 0] = target[4, 0, 0] = np.inf
    for name in TWO_SIDED:
        with pytest.raises(BadData, match="first is frame 4"):
            call(name, pred, target)


@pytest.mark.parametrize("name", TWO_SIDED)
def test_libraries_are_not_mixed(make_pair, name):
    pred, target = make_pair()
    with pytest.raises(UsageError, match="ndarray and Tensor"):
        call(name, pred, torch.tensor(target))
    with pytest.raises(UsageError, match="list"):
        call(name, pred.tolist(), target.tolist())


def test_metrics_import_neither_torch_nor_the_rest_of_the_package():
    code = (
        "import sys, hpsbench.metrics\n"
        "ours = {m.split('.')[1] for m in sys.modules if m.startswith('hpsbench.')}\n"
        "assert ours == {'metrics', 'geometry', 'errors'}, ours\n"
        "heavy = {'torch', 'scipy', 'pandas', 'zarr'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
