import numpy as np
import pytest

from hpsbench import metrics
from hpsbench.errors import BadData, UnitError


@pytest.mark.parametrize("frames", [0, 1, 2, 3, 30, 1535, 1536, 1537, 1538, 1539, 3074, 4000])
def test_standard_errors_are_the_three_functions(make_pair, array, frames):
    pred, target = (array(x.astype(np.float32)) for x in make_pair(frames=frames))
    found = metrics.standard_errors(pred, target, root=[2, 3])
    for ours, single in (
        (found.mpjpe, metrics.mpjpe(pred, target, root=[2, 3])),
        (found.pa_mpjpe, metrics.pa_mpjpe(pred, target)),
        (found.accel_err, metrics.accel_err(pred, target, root=[2, 3])),
    ):
        assert type(ours) is type(single)
        assert tuple(ours.shape) == tuple(single.shape)
        np.testing.assert_allclose(np.asarray(ours), np.asarray(single), rtol=1e-12, atol=1e-10)


def test_bad_input_is_refused_alike(make_pair):
    pred, target = make_pair()
    with pytest.raises(UnitError, match="millimetres"):
        metrics.standard_errors(1000 * pred, target, root=[0])
    pred[5, 1] = np.nan
    with pytest.raises(BadData, match="first is frame 5"):
        metrics.standard_errors(pred, target, root=[0])


def test_a_root_of_an_acceleration_is_the_same_as_root_aligned_joints(make_pair, array):
    pred, target = (array(x) for x in make_pair())
    p, t = (x - (x[:, [2]] + x[:, [3]]) / 2 for x in (pred, target))
    np.testing.assert_allclose(
        np.asarray(metrics.accel_err(pred, target, root=(2, 3))),
        np.asarray(metrics.accel_err(p, t)),
        rtol=1e-9,
    )
    np.testing.assert_allclose(
        np.asarray(metrics.accel_pred(pred, root=(2, 3))), np.asarray(metrics.accel_pred(p)), rtol=1e-9
    )
