"""Speed of one training step of VIBE against the released way of computing it, with equal gradients.

Run: python benchmarks/bench_training.py [--windows 32] [--frames 16] [--threads 2] [--repeats N] [--json]

Generator and discriminator of published size, a synthetic body of full size, random features and targets. The released way
(VIBE `lib/models/spin.py`, `lib/core/trainer.py`) multiplies the features anew in each of the regressor's three passes, builds the
mesh of 6,890 vertices of every frame to take 49 joints from it, and runs the discriminator three times with weight gradients,
of which the next line drops those of the first; Adam as torch has it by default. Both ways do the same steps, alternate in every
round, and are compared by their best times. Dropout is off, so that gradients can be compared: the largest difference over the
largest entry, per side. The target of the ratio is 1.7.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from hpsbench.bodies.regressors import spin49_joints
from hpsbench.bodies.smpl import BodyModel, load_bodies
from hpsbench.geometry.cameras import project_crop
from hpsbench.geometry.rotations import axis_angle_to_rotmat
from hpsbench.losses.joints import joints3d_loss, keypoints2d_loss
from hpsbench.losses.params import pose_loss, shape_loss
from hpsbench.models._discriminators import body_pose_of
from hpsbench.models._regressor import BodyState
from hpsbench.models._system import HPSOutput
from hpsbench.models.vibe import Vibe
from hpsbench.synth.body import write_body_models
from hpsbench.training.adversary import Opponent
from hpsbench.training.batches import Batch
from hpsbench.training.config import Adversary
from hpsbench.training.mixture import Motion
from hpsbench.training.start import set_dropout
from hpsbench.training.step import HIPS, LSP_IN_SPIN49, Step
from hpsbench.training.terms import get_terms

WEIGHTS = {"keypoints2d": 300.0, "joints3d": 300.0, "pose": 60.0, "shape": 0.06, "adversarial": 0.5}
TARGET, TOLERANCE = 1.7, 1e-5


def make_batch(windows: int, frames: int) -> tuple[Batch, Motion]:
    """Random features, poses and keypoints; every frame has SMPL parameters."""
    pose = 0.3 * torch.randn(windows, frames, 24, 3)
    keypoints = torch.cat([torch.randn(windows, frames, 49, 2), torch.ones(windows, frames, 49, 1)], dim=-1)
    batch = Batch(
        features=torch.randn(windows, frames, 2048).relu(),
        rotmat=axis_angle_to_rotmat(pose),
        betas=torch.randn(windows, frames, 10),
        keypoints2d=keypoints,
        has_smpl=torch.ones(windows, frames, dtype=torch.bool),
    )
    motion = Motion(
        axis_angle=0.3 * torch.randn(windows, frames, 24, 3), betas=torch.randn(windows, frames, 10)
    )
    return batch, motion


class Sides:
    """A generator and a discriminator with their optimisers; two of the same seed are equal."""

    def __init__(self, fused: bool) -> None:
        torch.manual_seed(0)
        self.system = Vibe()
        self.optimiser = torch.optim.Adam(self.system.parameters(), lr=5e-5, fused=fused)
        self.opponent = Opponent(Adversary(), WEIGHTS["adversarial"], torch.device("cpu"))
        if not fused:
            self.opponent.optimiser = torch.optim.Adam(
                self.opponent.network.parameters(), lr=1e-4, weight_decay=1e-4
            )
        set_dropout(self.system, 0.0)
        set_dropout(self.opponent.network, 0.0)

    def gradients(self) -> dict[str, Tensor]:
        """Of both sides, joined to one vector each."""
        return {
            name: torch.cat([p.grad.flatten() for p in network.parameters() if p.grad is not None]).clone()
            for name, network in (("generator", self.system), ("discriminator", self.opponent.network))
        }


def our_step(sides: Sides, body: BodyModel, batch: Batch, real: Motion, keep: bool = False) -> Any:
    """The step of the training loop."""
    step = Step(batch, sides.system.forward_train(batch), body, WEIGHTS, sides.opponent)
    terms = get_terms(WEIGHTS)
    total = torch.stack([WEIGHTS[name] * term(step).value for name, term in terms.items()]).sum()
    against = torch.stack([part.value for part in sides.opponent.parts(step.output, real).values()]).sum()
    total.backward()  # type: ignore[no-untyped-call]
    against.backward()  # type: ignore[no-untyped-call]
    found = sides.gradients() if keep else None
    for optimiser in (sides.optimiser, sides.opponent.optimiser):
        optimiser.step()
        optimiser.zero_grad()
    return found


def released_output(system: Vibe, features: Tensor) -> HPSOutput:
    """Of the same weights, every pass of the regressor from the features anew."""
    head = system.regressor
    encoded = system.encoder(features).flatten(0, 1)
    pose, shape, camera = (
        v.expand(len(encoded), -1) for v in (head.init_pose, head.init_shape, head.init_cam)
    )
    for _ in range(3):
        hidden = head.fc2(head.fc1(torch.cat([encoded, pose, shape, camera], dim=1)))
        pose = pose + head.decpose(hidden)
        shape = shape + head.decshape(hidden)
        camera = camera + head.deccam(hidden)
    return BodyState(pose, shape, camera).output(len(features))


def released_step(
    sides: Sides,
    layer: nn.Module,
    extra: Tensor,
    target: Tensor,
    batch: Batch,
    real: Motion,
    keep: bool = False,
) -> Any:
    """The same step computed as the released code does."""
    output = released_output(sides.system, batch.features)
    rotmat, betas, camera = (v.flatten(0, 1) for v in (output.rotmat, output.betas, output.camera))
    body = layer(global_orient=rotmat[:, :1], body_pose=rotmat[:, 1:], betas=betas, pose2rot=False)
    joints = torch.einsum("bik,ji->bjk", [body.vertices, extra])
    joints = spin49_joints(torch.cat([body.joints, joints], dim=1))
    has = batch.has_smpl.flatten()
    pose = body_pose_of(output)
    network = sides.opponent.network
    fake = network(pose)
    total = (
        WEIGHTS["keypoints2d"]
        * keypoints2d_loss(project_crop(joints, camera), batch.keypoints2d.flatten(0, 1))
        + WEIGHTS["joints3d"] * joints3d_loss(joints[:, LSP_IN_SPIN49], target, has, HIPS)
        + WEIGHTS["pose"] * pose_loss(rotmat, batch.rotmat.flatten(0, 1), has)
        + WEIGHTS["shape"] * shape_loss(betas, batch.betas.flatten(0, 1), has)
        + WEIGHTS["adversarial"] * (fake - 1).square().sum() / len(fake)
    )
    made, given = network(pose.detach()), network(real.axis_angle[:, :, 1:].flatten(-2))
    against = WEIGHTS["adversarial"] * (
        made.square().sum() / len(made) + (given - 1).square().sum() / len(given)
    )
    sides.optimiser.zero_grad()
    total.backward()
    own = sides.gradients()["generator"] if keep else None
    sides.optimiser.step()
    sides.opponent.optimiser.zero_grad()
    against.backward()
    found = {"generator": own, "discriminator": sides.gradients()["discriminator"]} if keep else None
    sides.opponent.optimiser.step()
    return found


def differences(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> dict[str, float]:
    """Largest difference over the largest entry, per side."""
    return {name: float((one[name] - other[name]).abs().max() / other[name].abs().max()) for name in one}


def best_times(ways: dict[str, Callable[[], Any]], repeats: int) -> dict[str, float]:
    """Smallest time of each way, the ways alternating."""
    best = dict.fromkeys(ways, float("inf"))
    for number in range(repeats + 1):
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            if number:  # the first round warms up
                best[name] = min(best[name], time.perf_counter() - start)
    return best


def measure(windows: int, frames: int, repeats: int) -> dict[str, Any]:
    """Times of both ways, their ratio, and how far their gradients differ."""
    with tempfile.TemporaryDirectory() as folder:
        write_body_models(Path(folder))
        body = load_bodies(Path(folder), synthetic=True).neutral
        extra = torch.tensor(body.regressor("extra9").matrix, dtype=torch.float32)
        layer = body.smplx_layer()
        batch, real = make_batch(windows, frames)
        with torch.no_grad():
            target = body.spin49(batch.rotmat.flatten(0, 1), batch.betas.flatten(0, 1))[:, LSP_IN_SPIN49]
        ours, released = Sides(fused=True), Sides(fused=False)
        differ = differences(
            our_step(ours, body, batch, real, keep=True),
            released_step(released, layer, extra, target, batch, real, keep=True),
        )
        times = best_times(
            {
                "ours": lambda: our_step(ours, body, batch, real),
                "released": lambda: released_step(released, layer, extra, target, batch, real),
            },
            repeats,
        )
    return {
        "windows": windows,
        "frames": frames,
        "seconds": times,
        "steps_per_second": {name: 1 / value for name, value in times.items()},
        "ratio": times["released"] / times["ours"],
        "gradient_difference": differ,
    }


def main() -> int:
    """Measure and print; 1 if the ratio or the gradients miss their target."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--windows", type=int, default=32)
    parser.add_argument("--frames", type=int, default=16)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=4)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    found = measure(given.windows, given.frames, given.repeats)
    if given.json:
        print(json.dumps(found, indent=2))
    else:
        for name, value in found["seconds"].items():
            print(f"{name:9s} {value:.3f} s a step, {1 / value:.2f} steps/s")
        print(
            f"ratio {found['ratio']:.2f} (target {TARGET}); gradients differ by {found['gradient_difference']}"
        )
    fine = found["ratio"] >= TARGET and max(found["gradient_difference"].values()) <= TOLERANCE
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
