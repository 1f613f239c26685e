"""What each kind of motion does, as curves of joint angles over time.

A curve table is an (T, len(ANGLES)) array of named angles in radians (`lift`, `carry` and `hang` apart). Sides are
`left_*` and `right_*`; zero is upright standing with hanging arms. `motion` turns tables into poses and root paths.
Published gait curves (Winter 1991) set the rough shapes and ranges.
"""

from collections.abc import Callable
from types import MappingProxyType

import numpy as np
from scipy.ndimage import gaussian_filter1d

from hpsbench.types import FloatArray

# Name -> (lowest, highest), radians. `lift`: metres above the ground; `carry`: m/s forward in the air; `hang`: 1 when
# the legs don't carry the body (climbing).
_MIDDLE = {
    "heading": (-np.inf, np.inf), "pelvis_pitch": (-0.5, 1.0), "pelvis_roll": (-0.3, 0.3), "pelvis_twist": (-0.4, 0.4),
    "spine_pitch": (-0.45, 1.3), "spine_roll": (-0.5, 0.5), "spine_twist": (-0.8, 0.8),
    "head_pitch": (-0.7, 0.8), "head_roll": (-0.4, 0.4), "head_yaw": (-1.1, 1.1),
    "lift": (0.0, 50.0), "carry": (-3.0, 8.0), "hang": (0.0, 1.0),
}  # fmt: skip
_SIDE = {
    "hip_flex": (-0.6, 2.0), "hip_spread": (-0.25, 0.9), "hip_twist": (-0.5, 0.7), "knee": (0.0, 2.3),
    "ankle": (-0.8, 0.55), "toe": (-0.2, 0.6), "arm_raise": (-1.0, 3.0), "arm_spread": (-0.15, 2.9),
    "arm_twist": (-1.2, 1.2), "elbow": (0.0, 2.4), "wrist_bend": (-0.8, 0.8), "wrist_twist": (-0.9, 0.9),
    "shrug": (-0.1, 0.35),
}  # fmt: skip
LIMITS = MappingProxyType(
    _MIDDLE | {f"{side}_{k}": v for side in ("left", "right") for k, v in _SIDE.items()}
)
ANGLES = tuple(LIMITS)
COLUMN = MappingProxyType({name: n for n, name in enumerate(ANGLES)})
SIDES = ("left", "right")
_REST = {"arm_spread": 0.16, "elbow": 0.22, "arm_twist": 0.1, "hip_spread": 0.03, "hip_twist": 0.12, "knee": 0.06,
         "hip_flex": 0.03}  # fmt: skip


class Curves:
    """An angle table with named columns.

    Attributes:
        table: (T, len(ANGLES)).
        time: (T,) seconds.
    """

    def __init__(self, frames: int, fps: float) -> None:
        self.table = np.zeros((frames, len(ANGLES)))
        self.fps = fps
        self.time = np.arange(frames) / fps
        for side in SIDES:
            for name, value in _REST.items():
                self[f"{side}_{name}"] = value

    def __len__(self) -> int:
        return len(self.table)

    def __getitem__(self, name: str) -> FloatArray:
        return np.asarray(self.table[:, COLUMN[name]])

    def __setitem__(self, name: str, value: FloatArray | float) -> None:
        self.table[:, COLUMN[name]] = value

    def flatten_feet(self) -> None:
        """Set the ankles so that the soles stay level."""
        for side in SIDES:
            bent = self["pelvis_pitch"] - self[f"{side}_hip_flex"] + self[f"{side}_knee"]
            self[f"{side}_ankle"] = np.clip(bent, *LIMITS[f"{side}_ankle"])


def keyframes(time: FloatArray, rng: np.random.Generator, low: float, high: float, *, every: tuple[float, float],
              move: float = 0.5) -> FloatArray:  # fmt: skip
    """(T,) holds random values in [low, high], changing every `every` seconds with a smooth `move` of that share."""
    value = np.empty_like(time)
    start, now = float(time[0]) if len(time) else 0.0, rng.uniform(low, high)
    end = float(time[-1]) if len(time) else 0.0
    start -= rng.uniform(0, every[1])
    while start <= end:
        length, then = rng.uniform(*every), rng.uniform(low, high)
        here = (time >= start) & (time < start + length)
        t = np.clip((time[here] - start) / (length * move), 0, 1)
        value[here] = now + (then - now) * (t**3 * (10 - 15 * t + 6 * t * t))
        start, now = start + length, then
    return value


def bump(phase: FloatArray, centre: float, sharpness: float) -> FloatArray:
    """Periodic bump of height 1 at `centre` (turns of 2 pi)."""
    return np.asarray(np.exp(sharpness * (np.cos(phase - 2 * np.pi * centre) - 1)))


def smooth_noise(shape: tuple[int, ...], sigma: float, rng: np.random.Generator) -> FloatArray:
    """Unit noise, low-passed along axis 0 with a Gaussian of `sigma` frames."""
    raw = rng.standard_normal((shape[0] + 8 * int(sigma + 1), *shape[1:]))
    smooth = gaussian_filter1d(raw, sigma, axis=0)[4 * int(sigma + 1) :][: shape[0]]
    return np.asarray(smooth * np.sqrt(2 * sigma * np.sqrt(np.pi)))


def _rate(value: FloatArray, fps: float) -> FloatArray:
    return np.asarray(np.gradient(value) * fps) if len(value) > 1 else np.zeros_like(value)


def _phase(c: Curves, rate: float, rng: np.random.Generator) -> FloatArray:
    wobble = 1 + 0.04 * smooth_noise((len(c),), c.fps, rng)
    return np.asarray(2 * np.pi * (rng.random() + np.cumsum(rate * wobble) / c.fps))


def _gesture(c: Curves, side: str, rng: np.random.Generator) -> None:
    """One arm reaches for this and that, wherever the legs go."""
    every = (0.8, 2.2)
    c[f"{side}_arm_raise"] = keyframes(c.time, rng, -0.3, 2.6, every=every)
    c[f"{side}_arm_spread"] = keyframes(c.time, rng, 0.05, 1.3, every=every)
    c[f"{side}_elbow"] = keyframes(c.time, rng, 0.05, 2.1, every=every)
    c[f"{side}_arm_twist"] = keyframes(c.time, rng, -0.9, 0.9, every=every)
    c[f"{side}_wrist_twist"] = keyframes(c.time, rng, -0.6, 0.6, every=every)


def _gait(
    c: Curves, rng: np.random.Generator, *, rate: float, stride: float, running: float, turn: float
) -> None:
    """Legs and arms of a walk (`running` 0) or run (1); `stride`: hip swing, radians; `turn`: rad/s at most."""
    phase = _phase(c, rate, rng)
    arms, knees = rng.uniform(0.5, 1.3), rng.uniform(0.85, 1.15)
    c["heading"] = np.cumsum(keyframes(c.time, rng, -turn, turn, every=(1.5, 4.0))) / c.fps
    c["pelvis_pitch"] = 0.03 + 0.10 * running
    c["spine_pitch"] = 0.03 + 0.12 * running + rng.uniform(-0.03, 0.08)
    c["pelvis_twist"] = -0.20 * stride * np.cos(phase)
    c["pelvis_roll"] = 0.04 * np.sin(phase)
    c["spine_twist"] = 0.35 * stride * np.cos(phase)
    c["lift"] = running * 0.07 * np.clip(-np.cos(2 * phase - 1.2), 0, 1) ** 1.5
    for side, shift in zip(SIDES, (0.0, np.pi), strict=True):
        p = phase + shift
        swing = bump(p, 0.74, 2.6)
        hip = (
            0.06 + 0.15 * running + stride * np.cos(p + 0.16 - 0.3 * np.sin(p - 1.45)) + 0.2 * stride * swing
        )
        knee = 0.05 + 0.2 * running + (0.07 + 0.3 * running) * bump(p, 0.12, 4) + 0.06 * bump(p, 0.53, 8)
        knee = knee + knees * (0.75 + 0.9 * stride + 0.3 * running) * swing
        tilt = (2.7 * stride + 0.1 * running) * bump(p, 0.57, 3.5) - 0.9 * stride * (1 - running) * bump(
            p, 0.97, 8
        )
        c[f"{side}_hip_flex"], c[f"{side}_knee"] = hip, knee
        c[f"{side}_ankle"] = np.clip(c["pelvis_pitch"] - hip + knee - tilt, -0.7, 0.5)
        c[f"{side}_toe"] = -0.1 * bump(p, 0.55, 6)
        c[f"{side}_hip_spread"] = 0.02 + 0.02 * np.sin(p)
        c[f"{side}_arm_raise"] = -0.05 - arms * (0.9 * stride + 0.2 * running) * np.cos(p + 0.2)
        c[f"{side}_elbow"] = 0.25 + 1.25 * running - arms * (0.25 + 0.2 * running) * np.cos(p + 0.2)
        c[f"{side}_arm_spread"] = 0.14 + 0.12 * running
        c[f"{side}_arm_twist"] = 0.1 + 0.3 * running


def walking(c: Curves, rng: np.random.Generator) -> None:
    """Walks at 0.7 to 1.15 cycles a second; now and then one hand is busy."""
    _gait(c, rng, rate=rng.uniform(0.7, 1.15), stride=rng.uniform(0.25, 0.48), running=0.0, turn=0.7)
    if rng.random() < 0.45:
        _gesture(c, SIDES[int(rng.integers(2))], rng)


def running(c: Curves, rng: np.random.Generator) -> None:
    """Runs at 1.25 to 1.6 cycles a second with short flights."""
    _gait(
        c,
        rng,
        rate=rng.uniform(1.25, 1.6),
        stride=rng.uniform(0.45, 0.75),
        running=rng.uniform(0.7, 1.0),
        turn=0.6,
    )
    stepping = np.clip(c["lift"] / 0.02, 0, 1)
    c["carry"] = rng.uniform(2.3, 3.6) * stepping


def reaching(c: Curves, rng: np.random.Generator) -> None:
    """Stands and reaches up, down, aside and across with both arms; bends and squats."""
    every = (0.9, 2.4)
    for side in SIDES:
        _gesture(c, side, rng)
    squat = np.maximum(keyframes(c.time, rng, -0.9, 1.0, every=every), 0)
    bend = np.maximum(keyframes(c.time, rng, -0.7, 1.0, every=every), 0)
    c["spine_pitch"] = 0.05 + 0.6 * bend
    c["pelvis_pitch"] = 0.55 * bend + 0.3 * squat
    c["spine_twist"] = keyframes(c.time, rng, -0.6, 0.6, every=every)
    c["spine_roll"] = keyframes(c.time, rng, -0.3, 0.3, every=every)
    c["heading"] = keyframes(c.time, rng, -0.4, 0.4, every=(2.0, 4.0))
    for side in SIDES:
        c[f"{side}_hip_flex"] = 0.05 + 1.25 * squat + 0.55 * bend
        c[f"{side}_knee"] = 0.08 + 1.55 * squat + 0.1 * bend
        c[f"{side}_hip_spread"] = rng.uniform(0.04, 0.28) + 0.25 * squat
        c[f"{side}_hip_twist"] = 0.15 + 0.2 * squat
    c.flatten_feet()


def sitting(c: Curves, rng: np.random.Generator) -> None:
    """Sits down, stays a while with busy hands and crossing or stretched legs, gets up again."""
    down = keyframes(c.time, rng, 0.0, 1.0, every=(2.5, 4.5), move=0.35)
    sit = np.clip((down - 0.25) / 0.15, 0, 1)
    sit = gaussian_filter1d(sit, 0.2 * c.fps, mode="nearest")
    moving = np.clip(_rate(sit, c.fps) * 0.8, -0.7, 0.7) ** 2
    for side in SIDES:
        _gesture(c, side, rng)
        c[f"{side}_arm_raise"] = c[f"{side}_arm_raise"] * 0.5 + 0.15
        stretch = keyframes(c.time, rng, -0.5, 0.9, every=(2.0, 5.0))
        c[f"{side}_hip_flex"] = 0.03 + 1.5 * sit + 0.5 * moving
        c[f"{side}_knee"] = 0.06 + sit * (1.52 - 0.9 * np.maximum(stretch, 0))
        c[f"{side}_hip_spread"] = 0.05 + sit * rng.uniform(0.0, 0.4)
        c[f"{side}_hip_twist"] = 0.1 * (1 - sit)
    c["pelvis_pitch"] = -0.12 * sit + 0.6 * moving
    c["spine_pitch"] = sit * keyframes(c.time, rng, 0.0, 0.6, every=(1.5, 4.0)) + 0.4 * moving
    c["spine_twist"] = keyframes(c.time, rng, -0.35, 0.35, every=(1.5, 4.0))
    c.flatten_feet()


def turning(c: Curves, rng: np.random.Generator) -> None:
    """Turns about on the spot with small steps, arms following the trunk."""
    _gait(c, rng, rate=rng.uniform(0.8, 1.1), stride=rng.uniform(0.06, 0.16), running=0.0, turn=0.2)
    turns = keyframes(c.time, rng, -2.8, 2.8, every=(1.5, 3.0), move=0.7)
    c["heading"] = turns
    rate = _rate(turns, c.fps)
    c["spine_twist"] = np.clip(0.12 * rate, -0.4, 0.4)
    c["head_yaw"] = np.clip(0.20 * rate, -0.8, 0.8)
    for side, sign in zip(SIDES, (1, -1), strict=True):
        c[f"{side}_arm_spread"] = 0.2 + np.clip(0.12 * np.abs(rate), 0, 0.5) + 0.05 * sign
        c[f"{side}_hip_twist"] = 0.12 + np.clip(0.1 * sign * rate, -0.3, 0.3)
    if rng.random() < 0.6:
        _gesture(c, SIDES[int(rng.integers(2))], rng)


def jumping(c: Curves, rng: np.random.Generator) -> None:
    """Jumps again and again: crouch, take-off with swinging arms, flight, landing."""
    rate = rng.uniform(0.55, 0.8)
    phase = np.mod(_phase(c, rate, rng) / (2 * np.pi), 1.0)
    power = keyframes(c.time, rng, 0.7, 1.0, every=(2.0, 3.0))
    turn = 2 * np.pi * phase
    crouch = power * (bump(turn, 0.30, 9) + 0.7 * bump(turn, 0.74, 14))
    flight = np.clip((phase - 0.43) / 0.26, 0, 1)
    air = 4 * flight * (1 - flight)
    c["lift"] = 9.81 / 8 * (0.26 / rate) ** 2 * power * air
    c["carry"] = rng.uniform(-0.3, 1.6) * (air > 0)
    swing = bump(turn, 0.50, 4)
    spread = rng.uniform(0.0, 0.5) * air
    for side in SIDES:
        c[f"{side}_hip_flex"] = 0.05 + 1.0 * crouch + rng.uniform(0.0, 0.6) * air
        c[f"{side}_knee"] = 0.08 + 1.5 * crouch + rng.uniform(0.1, 0.9) * air
        c[f"{side}_hip_spread"] = 0.06 + spread
        c[f"{side}_arm_raise"] = -0.7 * np.minimum(crouch, 1) + rng.uniform(0.8, 2.6) * swing
        c[f"{side}_arm_spread"] = 0.2 + rng.uniform(0.0, 0.9) * swing
        c[f"{side}_elbow"] = 0.3 + 0.5 * crouch
    c["pelvis_pitch"] = 0.35 * crouch
    c["spine_pitch"] = 0.05 + 0.35 * crouch
    c["heading"] = np.cumsum(keyframes(c.time, rng, -0.5, 0.5, every=(1.5, 3.0))) / c.fps
    c.flatten_feet()
    for side in SIDES:
        c[f"{side}_ankle"] = c[f"{side}_ankle"] * (1 - air) - 0.5 * air


def climbing(c: Curves, rng: np.random.Generator) -> None:
    """Climbs a wall up and down: opposite arm and leg reach, pull and push; `lift` is the height gained."""
    rate = keyframes(c.time, rng, 0.25, 0.6, every=(2.0, 4.0))
    up = np.sign(np.sin(2 * np.pi * (c.time / 7.0 + 0.02)))
    rate = rate * gaussian_filter1d(up, 0.4 * c.fps, mode="nearest")
    turns = np.cumsum(rate) / c.fps
    phase = 2 * np.pi * (rng.random() + turns)
    c["lift"] = np.maximum(0.42 * (turns - turns.min()), 0)
    c["hang"] = 1.0
    c["pelvis_pitch"] = -0.05
    c["spine_roll"] = 0.12 * np.sin(phase)
    c["pelvis_roll"] = 0.10 * np.sin(phase + 0.5)
    c["spine_twist"] = 0.15 * np.cos(phase)
    c["head_pitch"] = -0.25 + 0.1 * np.sin(phase)
    wide = rng.uniform(0.2, 0.6)
    for side, shift in zip(SIDES, (0.0, np.pi), strict=True):
        leg, arm = 0.5 + 0.5 * np.cos(phase + shift), 0.5 + 0.5 * np.cos(phase + shift + np.pi)
        c[f"{side}_hip_flex"] = 0.25 + 1.25 * leg
        c[f"{side}_knee"] = 0.30 + 1.45 * leg
        c[f"{side}_hip_spread"] = wide * (0.4 + 0.6 * leg)
        c[f"{side}_hip_twist"] = 0.2 + 0.3 * leg
        c[f"{side}_arm_raise"] = 1.5 + 1.25 * arm
        c[f"{side}_arm_spread"] = 0.15 + 0.25 * wide
        c[f"{side}_elbow"] = 1.5 - 1.2 * arm
        c[f"{side}_shrug"] = 0.25 * arm
    c.flatten_feet()


Maker = Callable[[Curves, np.random.Generator], None]
KINDS = MappingProxyType[str, Maker]({
    "walking": walking, "running": running, "sitting": sitting, "reaching": reaching, "turning": turning,
    "jumping": jumping, "climbing": climbing,
})  # fmt: skip
