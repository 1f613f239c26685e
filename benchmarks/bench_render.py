"""Speed of the synthetic renderer on one core, against what it cannot do without.

Run: python benchmarks/bench_render.py [--frames N] [--json]

Floors: filling the triangles of one person alone (their pixels and colours known), and copying a 640x360 frame. CPU
time, best of five rounds, so that other work on the machine counts little. The aim is 40 frames a second, skinning
included, and 120 crops of 112 pixels.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = "1"

import cv2
import numpy as np

from hpsbench.synth.crops import crop_stream
from hpsbench.synth.render import fill_triangles, render_crop, render_frame, visible_faces
from hpsbench.synth.scene import Scene, make_scene
from hpsbench.synth.seeds import generator

OWNER = "motion-prior"
WANTED = {"frames_per_s": 40.0, "crops_per_s": 120.0}


def scene_of(number: int, frames: int) -> Scene:
    people, motions, backgrounds, cameras = (
        generator(OWNER, name, number) for name in ("people", "motions", "backgrounds", "cameras")
    )
    return make_scene(
        frames,
        people=people,
        motions=motions,
        backgrounds=backgrounds,
        cameras=cameras,
        persons=1 + number % 2,
    )


def best(job: Callable[[], object], repeats: int = 5) -> float:
    """Least CPU seconds of some runs."""
    times = []
    for _ in range(repeats):
        start = time.process_time()
        job()
        times.append(time.process_time() - start)
    return min(times)


def filling_alone(scene: Scene) -> float:
    """Seconds to fill the triangles of the first person of frame 0."""
    person, motion = scene.people[0], scene.motions[0]
    body = person.body(1)
    vertices = body.pose(motion.full_pose[:1], person.betas, motion.transl[:1])[0][0]
    pixels = scene.project(vertices, 0)
    faces = body.faces[visible_faces(pixels, body.faces)]
    colours = np.full((len(faces), 3), 90.0)
    picture = np.zeros((scene.height, scene.width, 3), np.uint8)
    return best(lambda: fill_triangles(picture, pixels[:, :2], faces, colours))


def box_of(scene: Scene, index: int) -> np.ndarray:
    pixels = scene.project(scene.joints_world[0][index], index)[:, :2]
    side = 1.4 * float(np.linalg.norm(np.ptp(pixels, axis=0)))
    return np.array((*pixels.mean(0), side, side))


def measure(frames: int) -> dict[str, float]:
    scenes = [scene_of(number, frames) for number in range(4)]
    for scene in scenes:
        render_frame(scene, 0)
        render_crop(scene, 0, box_of(scene, 0), 112)
    drawn = [best(lambda s=s: [render_frame(s, i) for i in range(frames)]) / frames for s in scenes]
    cropped = [
        best(lambda s=s: [render_crop(s, i, box_of(s, i), 112) for i in range(frames)]) / frames
        for s in scenes
    ]
    stream = best(lambda: list(crop_stream("encoder/held-out", range(4))), 3) / 48
    frame = render_frame(scenes[0], 0)
    filling, copying = filling_alone(scenes[0]), best(lambda: [frame.copy() for _ in range(200)]) / 200
    one, two = float(np.mean(drawn[::2])), float(np.mean(drawn[1::2]))
    return {
        "frames_per_s": 1 / float(np.mean(drawn)),
        "frame_one_person_ms": 1e3 * one,
        "frame_two_people_ms": 1e3 * two,
        "crops_per_s": 1 / float(np.mean(cropped)),
        "crop_stream_per_s": 1 / stream,
        "filling_alone_ms": 1e3 * filling,
        "copy_frame_ms": 1e3 * copying,
        "frame_over_filling": one / filling,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=40)
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    cv2.setNumThreads(1)
    result = measure(chosen.frames)
    if chosen.json:
        print(json.dumps(result))
    else:
        for name, value in result.items():
            wanted = f"   (wanted: {WANTED[name]:.0f})" if name in WANTED else ""
            print(f"{name:24s} {value:10.2f}{wanted}")
    return 0 if all(result[name] >= least for name, least in WANTED.items()) else 1


if __name__ == "__main__":
    sys.exit(main())
