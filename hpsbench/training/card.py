"""What a trained checkpoint says about itself."""

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
        "partial": job.request.limit is not None,
        "trained_with_3dpw": any(s.store.dataset == "3dpw" for s in job.sources),
        "synthetic": job.store.synthetic,
        "extractor": attrs["extractor"],
        "extractor_sha256": attrs["weights_sha256"],
        "hpsbench": __version__,
        "environment": {"python": platform.python_version(), "torch": torch.__version__, **how},
    }
