"""What made a number: code, protocol, store, view, features, checkpoint, body and regressor, seeds, versions."""

import platform
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from hpsbench import __version__
from hpsbench.bodies.files import REGRESSOR_FILES
from hpsbench.bodies.smpl import Bodies
from hpsbench.corruption._record import describe_corruption
from hpsbench.evaluation.inputs import ChosenFeatures
from hpsbench.protocols.protocol import Protocol, Rule
from hpsbench.store.reader import ClipStore, FeatureSet

_STORE_KEYS = (
    "dataset",
    "version",
    "recipe_sha256",
    "raw_manifest_sha256",
    "code_version",
    "synthetic",
    "limit",
)


def provenance(
    protocol: Protocol,
    rule: Rule,
    store: ClipStore,
    *,
    bodies: Bodies | None,
    files: Collection[str] | None = None,
    chosen: ChosenFeatures | None = None,
    read: FeatureSet | None = None,
    checkpoint_sha256: str | None = None,
    about: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The provenance of a result, as plain JSON values.

    Args:
        protocol: under which it was scored.
        rule: of the protocol on the dataset.
        store: what was read.
        bodies: whose files were used; their hashes are taken.
        files: names of those that belong to this protocol, where the bodies serve several; None: all that were used.
        chosen: features that the system read.
        read: the feature set behind predictions that were made before, where the store has it; only its corruption is taken.
        checkpoint_sha256: of the system's weights.
        about: more, as `command`.
    """
    features = None if chosen is None else chosen.features
    behind = features or read
    used = {} if bodies is None else bodies.sha256
    hashes = {name: sha for name, sha in used.items() if files is None or name in files}
    regressors = {name: sha for name, sha in hashes.items() if name in REGRESSOR_FILES.values()}
    return {
        "hpsbench": __version__,
        "protocol": protocol.id,
        "protocol_sha256": protocol.sha256,
        "store": {key: store.attrs[key] for key in _STORE_KEYS if key in store.attrs},
        "view": rule.view,
        "features": None if features is None else features.name,
        "extractor": None if features is None else features.attrs.get("extractor"),
        "extractor_sha256": None if features is None else features.attrs.get("weights_sha256"),
        "crop_scale": None if features is None else features.attrs.get("crop_scale"),
        "corruption": None if behind is None else describe_corruption(behind.attrs.get("corruption")),
        "renderer": renderer(store),
        "checkpoint_sha256": checkpoint_sha256,
        "body_sha256": {name: sha for name, sha in hashes.items() if name not in regressors},
        "regressor_sha256": regressors,
        "versions": _versions(),
        **(about or {}),
    }


def renderer(store: ClipStore) -> dict[str, Any] | None:
    """What drew the images of a synthetic store: world, version, size and seed; None for real data."""
    if not store.synthetic:
        return None
    world = store.attrs.get("synthetic_world") or {}
    return {key: world.get(key) for key in ("format", "version", "size", "seed")}


def _versions() -> dict[str, str]:
    import torch

    return {"python": platform.python_version(), "numpy": np.__version__, "torch": str(torch.__version__)}
