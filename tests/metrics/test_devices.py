import numpy as np
import pytest
import torch

from hpsbench import metrics

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]

CALLS = {
    "mpjpe": lambda p, t: metrics.mpjpe(p, t, root=[2, 3]),
    "pa_mpjpe": metrics.pa_mpjpe,
    "accel_err": metrics.accel_err,
    "pck": metrics.pck,
    "auc": metrics.auc,
    "w_mpjpe": metrics.w_mpjpe,
    "pve": metrics.pve,
}


@pytest.mark.parametrize("name", CALLS)
def test_the_gpu_agrees_with_the_cpu(make_pair, name):
    pred, target = (x.astype(np.float32) for x in make_pair(frames=3000))
    there = CALLS[name](torch.tensor(pred, device="cuda"), torch.tensor(target, device="cuda"))
    assert there.is_cuda
    np.testing.assert_allclose(there.cpu().numpy(), CALLS[name](pred, target), rtol=1e-6, atol=1e-6)
