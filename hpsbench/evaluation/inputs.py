"""Which feature set a system is given, and whose windows it predicts under."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hpsbench.errors import FeatureMismatch, MissingFeatures
from hpsbench.features.flow import KIND
from hpsbench.protocols.protocol import Rule
from hpsbench.store.reader import ClipStore, FeatureSet
from hpsbench.types import Inputs, WindowRule

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
        The set, or None for a system that reads no features; for one that reads images the named set if it is a
        corrupted one, whose corruption the images get.

    Raises:
        MissingFeatures: no such set.
        FeatureMismatch: another width, or (unless the set was named) another extractor or other weights.
    """
    if inputs.features is None:
        return _condition_of_images(store, rule, inputs, named)
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


def _condition_of_images(
    store: ClipStore, rule: Rule, inputs: Inputs, named: str | None
) -> ChosenFeatures | None:
    if inputs.images is None or named is None or store.features[named].attrs.get("corruption") is None:
        return None
    found = store.features[named]
    return ChosenFeatures(
        features=found, flags=() if found.attrs.get("view") == rule.view else (VIEW_MISMATCH,)
    )


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
        if features.attrs.get("view") == view
        and features.attrs.get("corruption") is None
        and features.attrs.get("kind") != KIND
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


def windowing(system: Any, rule: WindowRule | None) -> str:
    """Whose windows a system predicts under: `protocol`, or `system` where it keeps its own context."""
    accepts = getattr(system, "accepts", None)
    if rule is None:
        return "system"
    if accepts is not None:
        return "protocol" if accepts(rule) else "system"
    return "protocol" if system.context is None or system.context == rule else "system"
