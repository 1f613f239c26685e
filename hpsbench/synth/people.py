"""Who is in the picture: gender, shape and plain clothes in random colours.

Colours say nothing about body parts or poses: every garment's colour, sleeve and leg length is drawn anew for each
person, left and right always match, and front and back differ only by hair and face, as on a real person.
"""

import functools
from dataclasses import dataclass

import numpy as np

from hpsbench.synth.anatomy import BETAS
from hpsbench.synth.body import SyntheticBody, load_synthetic_body
from hpsbench.synth.body_shape import Gender, template
from hpsbench.types import FloatArray

_SKIN_TONES = np.array(
    [(255, 219, 190), (236, 188, 150), (206, 150, 112), (160, 108, 76), (104, 70, 50), (72, 50, 38)]
)
_HAIR_TONES = np.array(
    [(28, 24, 22), (60, 40, 28), (110, 74, 44), (180, 140, 84), (150, 150, 150), (120, 50, 26)]
)
_SLEEVES = (0.215, 0.33, 0.45, 0.665)  # where a sleeve may end, |x| in the rest frame
_HEMS = (-0.46, -0.60, -0.85, -1.06)  # where trouser legs may end, y in the rest frame


@dataclass(frozen=True, kw_only=True)
class Clothes:
    """Plain clothes; colours are (r, g, b) of 0 to 255, lengths in the rest frame, metres.

    Attributes:
        skin, hair, top, bottom, shoes: colours.
        sleeve_end: |x| where sleeves end.
        hem: y where trouser legs end.
        waist: y where the top meets the bottom.
        hair_line: 0 bald, 1 short, 2 long.
    """

    skin: tuple[float, float, float]
    hair: tuple[float, float, float]
    top: tuple[float, float, float]
    bottom: tuple[float, float, float]
    shoes: tuple[float, float, float]
    sleeve_end: float
    hem: float
    waist: float
    hair_line: int

    def face_colours(self, level: int) -> FloatArray:
        """(F, 3) float32 colour of each drawn face of `SyntheticBody(level=level)`; shared, don't write into it."""
        return _face_colours(self, level)

    def _paint(self, level: int) -> FloatArray:
        x, y, z = _face_centres(level).T
        side = np.abs(x)
        colours = np.empty((len(x), 3), dtype=np.float32)
        colours[:] = self.skin
        covered = (y < 0.262 - 0.05 * np.clip(z + 0.03, 0, 1)) & (side < self.sleeve_end) & (y > self.waist)
        colours[covered] = self.top
        colours[(y <= self.waist) & (y > self.hem) & (side < 0.4)] = self.bottom
        colours[y < -1.085] = self.shoes
        if self.hair_line:
            low = 0.40 if self.hair_line == 1 else 0.33
            colours[(y > np.where(z > 0.035, 0.492, low)) & ~((z > 0.0) & (y < 0.475) & (side > 0.07))] = (
                self.hair
            )
        return colours


@dataclass(frozen=True, kw_only=True)
class Person:
    """One person of the synthetic world.

    Attributes:
        gender: "male", "female" or "neutral".
        betas: (10,) shape.
        clothes: colours and lengths.
    """

    gender: Gender
    betas: FloatArray
    clothes: Clothes

    def body(self, level: int = 0) -> SyntheticBody:
        """The (shared) body of this gender."""
        return load_synthetic_body(self.gender, level)

    def rest_joints(self) -> FloatArray:
        """(24, 3) T-pose joints."""
        return self.body(2).rest_joints(self.betas)


@functools.lru_cache(maxsize=64)
def _face_colours(clothes: Clothes, level: int) -> FloatArray:
    return clothes._paint(level)


@functools.cache
def _face_centres(level: int) -> FloatArray:
    body = load_synthetic_body("neutral", level)
    return np.asarray(template()[0][body.vertex_ids][body.faces].mean(1))


def _colour(rng: np.random.Generator) -> tuple[float, float, float]:
    """A garment's colour: greys, darks and all hues alike."""
    level = rng.uniform(25, 235)
    tint = rng.normal(0, rng.choice([5.0, 45.0]), 3)
    r, g, b = np.clip(level + tint, 8, 250)
    return float(r), float(g), float(b)


def _tone(table: FloatArray, rng: np.random.Generator) -> tuple[float, float, float]:
    share = rng.random()
    a, b = table[rng.integers(len(table), size=2)]
    r, g, b = np.clip((share * a + (1 - share) * b) * rng.uniform(0.9, 1.08), 0, 255)
    return float(r), float(g), float(b)


def draw_clothes(rng: np.random.Generator) -> Clothes:
    """Random plain clothes."""
    skin = _tone(_SKIN_TONES, rng)
    return Clothes(
        skin=skin,
        hair=_tone(_HAIR_TONES, rng),
        top=_colour(rng),
        bottom=_colour(rng),
        shoes=skin if rng.random() < 0.15 else _colour(rng),
        sleeve_end=float(rng.choice(_SLEEVES)),
        hem=float(rng.choice(_HEMS)),
        waist=float(rng.uniform(-0.27, -0.15)),
        hair_line=int(rng.choice(3, p=(0.12, 0.58, 0.30))),
    )


def draw_person(rng: np.random.Generator) -> Person:
    """A random man or woman; betas are standard normal, cut off at 2."""
    gender: Gender = "male" if rng.random() < 0.5 else "female"
    betas = np.clip(rng.standard_normal(BETAS), -2, 2)
    return Person(gender=gender, betas=betas, clothes=draw_clothes(rng))
