"""What a system is given: which feature set, and one `ClipInput` per stretch of seen frames."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from hpsbench.bodies.joints import convert_indices
from hpsbench.errors import FeatureMismatch, MissingFeatures, UsageError
from hpsbench.evaluation.frames import FramePlan
from hpsbench.evaluation.rows import StoreRows, field_joint_set
from hpsbench.protocols.protocol import Rule
from hpsbench.store.reader import ClipStore, FeatureSet
from hpsbench.types import ClipInput, FloatArray, Inputs, IntArray, WindowRule

# Flag of results whose features are of another extractor than the system was trained on.
EXTRACTOR_MISMATCH = "extractor-mismatch"
# Flag of results whose features are of another view than the protocol's: other boxes and crops.
VIEW_MISMATCH = "view-mismatch"


@dataclass(frozen=True, slots=True, kw_only=True)
class ChosenFeatures:
    """The feature set that a system reads.

    Attributes:
        features: the set.
        flags: `extractor-mismatch` and `view-mismatch`, where they hold.
    """

    features: FeatureSet
    flags: tuple[str, ...] = ()

    @property
    def condition(self) -> str | None:
        """Name of the corruption behind the set, `center-0.33x1-s0`; None for a clean one."""
        if self.features.attrs.get("corruption") is None:
            return None
        return self.features.name.partition("+")[2] or "corrupted"

    @property
    def seeds(self) -> tuple[int, ...]:
        """Seeds behind the corruption."""
        corruption: Mapping[str, Any] = self.features.attrs.get("corruption") or {}
        return (int(corruption["seed"]),) if "seed" in corruption else ()


def choose_features(
    store: ClipStore, rule: Rule, inputs: Inputs, named: str | None = None
) -> ChosenFeatures | None:
    """The feature set for a system under a protocol: of the protocol's view, by the extractor it was trained on.

    Args:
        store: the clip store.
        rule: says the view.
        inputs: of the system; its extractor, where it names one.
        named: a set that is asked for; then another extractor is allowed and flagged.

    Returns:
        The set, or None for a system that reads no features.

    Raises:
        MissingFeatures: no such set.
        FeatureMismatch: another width, or (unless the set was named) another extractor or other weights.
    """
    if inputs.features is None:
        return None
    chosen = (
        store.features[named] if named is not None else store.features[_default_name(store, rule, inputs)]
    )
    if chosen.dim != inputs.features:
        raise FeatureMismatch(
            f"{store.location}: features {chosen.name!r} are {chosen.dim} wide, the system reads {inputs.features}"
        )
    mismatch = _mismatch(chosen, inputs)
    flags = () if chosen.attrs.get("view") == rule.view else (VIEW_MISMATCH,)
    if mismatch is None:
        return ChosenFeatures(features=chosen, flags=flags)
    if named is None:
        raise FeatureMismatch(
            f"{store.location}: {mismatch}; name the set (features={chosen.name!r}) to use it all the same"
        )
    return ChosenFeatures(features=chosen, flags=(EXTRACTOR_MISMATCH, *flags))


def _default_name(store: ClipStore, rule: Rule, inputs: Inputs) -> str:
    if inputs.extractor is not None:
        wanted = f"{inputs.extractor}-{rule.view}"
        clean = _clean_sets(store, rule.view)
        if wanted not in store.features and clean:
            raise FeatureMismatch(
                f"{store.location}: the system was trained on features of {inputs.extractor!r}, and the store has "
                f"{', '.join(clean)} for the view {rule.view!r}. Extract {wanted!r}, or name a set (features=...) to use "
                "it all the same"
            )
        return wanted
    clean = _clean_sets(store, rule.view)
    if len(clean) == 1:
        return clean[0]
    have = ", ".join(store.features) or "none"
    what = "several clean feature sets" if clean else "no clean feature set"
    raise MissingFeatures(
        f"{store.location}: {what} of the view {rule.view!r} (it has: {have}); run 'hpsbench extract {store.dataset} "
        f"--view {rule.view}', or name one (features=...)"
    )


def _clean_sets(store: ClipStore, view: str) -> list[str]:
    return [
        name
        for name, features in store.features.items()
        if features.attrs.get("view") == view and features.attrs.get("corruption") is None
    ]


def _mismatch(features: FeatureSet, inputs: Inputs) -> str | None:
    """Why these features are not what the system was trained on; None if they are, or nothing is known."""
    made_by = features.attrs.get("extractor")
    if inputs.extractor is not None and made_by != inputs.extractor:
        return (
            f"features {features.name!r} are of {made_by!r}, the system was trained on {inputs.extractor!r}"
        )
    weights = features.attrs.get("weights_sha256")
    if inputs.extractor_sha256 is not None and weights != inputs.extractor_sha256:
        return (
            f"features {features.name!r} were made with weights {str(weights)[:8]}..., the system was trained on "
            f"{made_by} with {inputs.extractor_sha256[:8]}..."
        )
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Clip:
    """One stretch of seen frames.

    Attributes:
        places: (T,) its rows of the plan.
        given: what the system gets.
    """

    places: IntArray
    given: ClipInput


def clips(
    store: ClipStore,
    rule: Rule,
    rows: StoreRows,
    plan: FramePlan,
    inputs: Inputs,
    features: FeatureSet | None,
) -> Iterator[Clip]:
    """One `ClipInput` per stretch in which at least one frame is scored.

    Raises:
        MissingFeatures: the feature set does not cover the frames.
        UsageError: the system reads something that cannot be given.
    """
    unsupported = [name for name in ("flow", "images", "predictions") if getattr(inputs, name) is not None]
    if unsupported:
        raise UsageError(
            f"the system reads {unsupported[0]}, which evaluation of a store does not give; it gives features and 2D keypoints"
        )
    for places in plan.segments:
        if plan.scored[places].any():
            yield Clip(places=places, given=_clip_input(store, rule, rows, places, inputs, features))


def _clip_input(
    store: ClipStore,
    rule: Rule,
    rows: StoreRows,
    places: IntArray,
    inputs: Inputs,
    features: FeatureSet | None,
) -> ClipInput:
    own = rows.rows[places]
    return ClipInput(
        track=str(rows.track[places[0]]),
        length=len(places),
        frame_id=rows.frame_id[places],
        bbox_cxcywh=np.asarray(store.views[rule.view].bbox_cxcywh[own]),
        features=None if features is None else features.of(own),
        keypoints2d=_keypoints(store, own, inputs.keypoints2d),
        windows=rule.windows,
        fps=rule.fps or rows.fps,
    )


def _keypoints(store: ClipStore, rows: IntArray, joint_set: str | None) -> FloatArray | None:
    """2D keypoints in the set that the system reads; joints that the store lacks have confidence 0."""
    if joint_set is None:
        return None
    given = np.asarray(store.frames["keypoints2d"][rows])
    order = np.asarray(convert_indices(field_joint_set(store, "keypoints2d"), joint_set))
    found = np.zeros((len(rows), len(order), 3), given.dtype)
    found[:, order >= 0] = given[:, order[order >= 0]]
    return found


def windowing(system: Any, rule: WindowRule | None) -> str:
    """Whose windows a system predicts under: `protocol`, or `system` where it keeps its own context."""
    accepts = getattr(system, "accepts", None)
    if rule is None:
        return "system"
    if accepts is not None:
        return "protocol" if accepts(rule) else "system"
    return "protocol" if system.context is None or system.context == rule else "system"
