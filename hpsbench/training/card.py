"""What a trained checkpoint says about itself."""

import json
import platform
from collections.abc import Mapping
from typing import Any

import torch

from hpsbench import __version__
from hpsbench.training.checkpoints import TrainingState
from hpsbench.training.job import Job


def training_card(
    job: Job, options: Mapping[str, Any], state: TrainingState, how: Mapping[str, Any]
) -> dict[str, Any]:
    """The card of a checkpoint: system and options, recipe, data with hashes, code and environment, validation curve.

    Args:
        job: what was trained on what.
        options: of the network.
        state: where the run stands; its history is the validation curve.
        how: device, precision, number of processes.
    """
    attrs, line = job.store.features[job.features].attrs, state.history[-1]
    first = job.sources[0].describe()
    weights = job.recipe.weights()
    return {
        "system": job.recipe.system,
        "options": dict(options),
        "training_recipe": job.recipe.model_dump(mode="json"),
        "seed": job.seed,
        "epoch": line["epoch"],
        "step": line["step"],
        "validation_mm": line["validation_mm"],
        "validation_curve": [
            {"epoch": h["epoch"], "validation_mm": h["validation_mm"]} for h in state.history
        ],
        "trained_on": {key: first[key] for key in first if key not in ("group", "view")},
        "sources": [source.describe() for source in job.sources],
        "left_out": list(job.left_out),
        "terms_without_data": sorted(name for name in weights if not line["took_part"].get(name)),
        "stand_ins": stand_ins(job),
        "partial": job.request.limit is not None,
        "trained_with_3dpw": any(s.store.dataset == "3dpw" for s in job.sources),
        "synthetic": job.store.synthetic,
        "extractor": attrs["extractor"],
        "extractor_sha256": attrs["weights_sha256"],
        "hpsbench": __version__,
        "environment": {"python": platform.python_version(), "torch": torch.__version__, **how},
    }


def stand_ins(job: Job) -> dict[str, Any]:
    """What a run read in the place of what the paper had; empty where there is nothing of the kind.

    Where masks and flow came from, which feature sets hide joints, what was trained here because it was never released.
    """
    found: dict[str, Any] = {}
    for source in job.sources:
        further, name = source.further, f"{source.store.dataset} {source.source.view}"
        for kind, wanted in (("masks", further.wanted.masks), ("flow", further.wanted.flow_field)):
            path = None if further.folder is None else further.folder / f"{kind}.npy"
            if wanted and path is not None and path.is_file():
                about = path.with_suffix(".json")
                made = (
                    json.loads(about.read_text(encoding="utf-8"))
                    if about.is_file()
                    else {"source": "unknown"}
                )
                found.setdefault(kind, {})[name] = made
        if further.occluded:
            found.setdefault("hidden_joints", {})[name] = [one.name for one in further.occluded]
    if "mask" in job.recipe.weights():
        found["silhouette"] = "vertices splatted at 56 x 56 in the place of a differentiable renderer"
    recipe = job.recipe
    for what, rule, used in (
        ("MPoser", recipe.prior, "motion_prior" in recipe.weights()),
        ("MEVA's motion decoder", recipe.motion_vae, recipe.motion_vae is not None),
    ):
        if rule is not None and used:
            found[what] = f"trained here on {rule.motions.dataset}, {rule.steps} steps"
    return found
