"""Evaluations that are kept: what was measured once with the same code, weights, features and rules is read again."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from hpsbench import __version__
from hpsbench.evaluation.run import evaluate
from hpsbench.evaluation.scoring import OnTrack
from hpsbench.models._system import System
from hpsbench.protocols.protocol import Protocol
from hpsbench.results.result import RESULTS, Result, load_result
from hpsbench.store.layout import read_document
from hpsbench.store.reader import ClipStore

_STORE_KEYS = ("dataset", "recipe_sha256", "raw_manifest_sha256", "code_version", "synthetic", "limit")


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A system in a sweep.

    Attributes:
        label: in tables and plots.
        system: what predicts.
        train_length: frames of the windows it was trained on, or None.
    """

    label: str
    system: System
    train_length: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """What all evaluations of a sweep share.

    Attributes:
        store: that is read.
        protocol: under which.
        root: data root; results go to `runs/` there.
        dataset: dataset or setting of the protocol; None: the store's.
        device: where networks run; None: where they are.
        limit: only the first so many tracks; results are partial.
        about: more for the provenance, as `command`.
    """

    store: ClipStore
    protocol: Protocol
    root: Path
    dataset: str | None = None
    device: str | None = None
    limit: int | None = None
    about: Mapping[str, Any] = field(default_factory=dict)

    def with_protocol(self, protocol: Protocol) -> "Bench":
        """The same under other rules."""
        return replace(self, protocol=protocol)

    def attributes(self, features: str) -> dict[str, Any]:
        """What a feature set says of itself, its manifest too; empty where there is no complete one.

        Reads this one set: `store.features` looks at all of them, and a store that was swept over has very many.
        """
        document = read_document(self.store.path / "features" / features) or {}
        attributes: dict[str, Any] = dict(document.get("attributes", {}))
        return attributes if attributes.get("complete") else {}

    def folder(self, model: Model, features: str | None) -> Path:
        """Where the result of a model on a feature set lies; the same evaluation has the same folder."""
        made_of = [
            __version__,
            self.protocol.sha256,
            self.dataset,
            self.limit,
            {key: self.store.attrs.get(key) for key in _STORE_KEYS},
            model.system.name,
            getattr(model.system, "checkpoint_sha256", None),
            repr(getattr(model.system, "options", None)),
            features,
            self.attributes(features) if features is not None else {},
        ]
        text = json.dumps(made_of, sort_keys=True, default=str)
        digest = hashlib.sha256(text.encode()).hexdigest()[:10]
        what = features or self.store.dataset
        return self.root / "runs" / f"sweep-{model.system.name}-{self.protocol.name}-{what}-{digest}"

    def known(self, model: Model, features: str | None) -> bool:
        """Whether the evaluation is there already; one of a system without a checkpoint never is."""
        there = (self.folder(model, features) / RESULTS).is_file()
        return there and getattr(model.system, "checkpoint_sha256", None) is not None

    def result(
        self,
        model: Model,
        features: str | None,
        *,
        flags: Sequence[str] = (),
        on_track: OnTrack | None = None,
    ) -> tuple[Result, Path]:
        """The result of a model on a feature set, measured now or before, and its folder."""
        folder = self.folder(model, features)
        if self.known(model, features):
            return load_result(folder), folder
        found = evaluate(
            model.system,
            self.protocol,
            self.store,
            root=self.root,
            dataset=self.dataset,
            features=features,
            device=self.device,
            limit=self.limit,
            on_track=on_track,
            about=self.about,
        )
        found = replace(found, flags=tuple(sorted({*found.flags, *flags})))
        found.save(folder)
        return found, folder
