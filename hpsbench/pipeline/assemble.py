"""From parts to the clip store of a dataset: what it is made from, and what its attributes say."""

import hashlib
import shlex
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import hpsbench
from hpsbench.bodies.joints import get_joint_set
from hpsbench.errors import BadData
from hpsbench.pipeline.parts import Part
from hpsbench.pipeline.thinning import thin_through
from hpsbench.recipes.access import RawRoot
from hpsbench.recipes.manifest import Manifest
from hpsbench.recipes.schema import Recipe
from hpsbench.recipes.sequences import RawSequence, get_reader
from hpsbench.recipes.views import sum_counts
from hpsbench.store.writer import write_store


def store_path(root: Path, dataset: str) -> Path:
    """Where the clip store of a dataset lies."""
    return root / "stores" / f"{dataset}.zarr"


@dataclass(frozen=True, slots=True)
class PrepareJob:
    """What is to be prepared."""

    root: Path
    recipe: Recipe
    raw: RawRoot
    sequences: Sequence[RawSequence]
    limit: int | None

    @property
    def name(self) -> str:
        """Of the work folder."""
        return f"prepare-{self.recipe.key}"

    @property
    def store(self) -> Path:
        """Folder of the clip store."""
        return store_path(self.root, self.recipe.key)


def identity(job: PrepareJob, manifest: Manifest) -> dict[str, Any]:
    """What parts are made from; a change of any of it makes them useless. The keys are for people."""
    return {
        "recipe": job.recipe.sha256,
        "raw manifest": manifest.sha256,
        "limit": job.limit,
        "synthetic mark": job.raw.is_synthetic,
        "hpsbench version": hpsbench.__version__,
        "code": _code_sha256(job.recipe),
    }


def _code_sha256(recipe: Recipe) -> str:
    """Of everything between the raw file and the store's bytes, and of the libraries that compute in it."""
    import scipy

    package = Path(hpsbench.__file__).parent
    files = [
        path
        for room in ("recipes", "store", "geometry", "bodies")
        for path in sorted((package / room).rglob("*"))
        if path.suffix in {".py", ".csv", ".toml"}
    ]
    digest = hashlib.sha256(f"{np.__version__} {scipy.__version__}".encode())
    for path in files:
        digest.update(path.read_bytes())
    module = __import__(get_reader(recipe).__module__, fromlist=["_"])
    if module.__file__ is not None:
        digest.update(Path(module.__file__).read_bytes())
    return digest.hexdigest()


def assemble(job: PrepareJob, manifest: Manifest, parts: Sequence[Part], broken: Sequence[str]) -> None:
    """Write the store: its bytes depend on recipe, raw files, code and library versions alone.

    Args:
        job: what is prepared.
        manifest: of the raw files.
        parts: of all sequences but the broken ones, in the recipe's order.
        broken: names of damaged sequences that are left out.

    Raises:
        BadData: no sequence is left.
    """
    parts = thin_through(parts, job.recipe)
    blocks = [block for part in parts for block in part.blocks]
    skipped = Counter(part.skipped for part in parts if part.skipped)
    if broken:
        skipped["broken"] = len(broken)
    if not blocks:
        reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(skipped.items()))
        raise BadData(
            f"{job.recipe.key}: none of {len(job.sequences)} sequences under {job.raw.path} is left: {reasons}"
        )
    attributes = {
        "dataset": job.recipe.key,
        "title": job.recipe.title,
        "synthetic": job.raw.is_synthetic,
        "synthetic_world": job.raw.synthetic,
        "recipe_sha256": job.recipe.sha256,
        "raw_manifest_sha256": manifest.sha256,
        "coordinates": job.recipe.source.coordinates,
        "up": job.recipe.source.up,
        "length_unit": job.recipe.source.length_unit,
        "body": job.recipe.body.model_dump(),
        "licence": job.recipe.licence,
        "licence_url": job.recipe.licence_url,
        "default_view": job.recipe.default_view,
        "limit": job.limit,
        "command": _command(job, bool(broken)),
        "splits": _count_splits(job, parts),
        "skipped": dict(sorted(skipped.items())),
        "broken": list(broken),
    }
    optional = [f"frames/{name}" for name, facts in job.recipe.fields.items() if facts.optional]
    write_store(job.store, blocks, attributes=attributes, nodes=_nodes(job.recipe, parts), optional=optional)


def _command(job: PrepareJob, broken: bool) -> str:
    """The call that makes this store, without what depends on the machine."""
    words = ["hpsbench", "prepare", job.recipe.key]
    words += ["--limit", str(job.limit)] if job.limit is not None else []
    return shlex.join(words + (["--skip-bad"] if broken else []))


def _count_splits(job: PrepareJob, parts: Sequence[Part]) -> dict[str, dict[str, int]]:
    counts = {split: Counter(sequences=0, tracks=0, clips=0, frames=0) for split in job.recipe.splits}
    for part in parts:
        counts[part.split]["sequences"] += part.skipped is None
        for block in part.blocks:
            tracks = len({clip["track"] for clip in block.clips})
            counts[part.split].update(tracks=tracks, clips=len(block.clips), frames=block.rows)
    return {split: dict(count) for split, count in counts.items()}


def _nodes(recipe: Recipe, parts: Sequence[Part]) -> dict[str, dict[str, Any]]:
    """Attributes of fields and views."""
    nodes: dict[str, dict[str, Any]] = {}
    for name, facts in recipe.fields.items():
        attributes = facts.model_dump(exclude={"optional", "false_means", "joint_set"}, exclude_none=True)
        joint_set = facts.joint_set_of(_joints(parts, f"frames/{name}"))
        if joint_set is not None:
            attributes |= {"joint_set": joint_set, "joint_names": list(get_joint_set(joint_set).names)}
        if facts.optional:
            attributes["missing"] = "nan"
        nodes[f"frames/{name}"] = attributes
    for name, rule in recipe.views.items():
        counts = sum_counts(block.views[name] for part in parts for block in part.blocks)
        nodes[f"views/{name}"] = {**rule.model_dump(mode="json"), "counts": counts}
    return nodes


def _joints(parts: Sequence[Part], path: str) -> int:
    """Length of the second axis of an array, which all tracks that have it share; 0 if there is none."""
    for part in parts:
        for block in part.blocks:
            if path in block.specs:
                return next(iter(block.specs[path].row_shape), 0)
    return 0
