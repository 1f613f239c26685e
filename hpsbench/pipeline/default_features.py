"""Which features `prepare` makes after the annotations, or why it makes none."""

from dataclasses import dataclass
from pathlib import Path

from hpsbench.features.backbones import SPIN_CHECKPOINT, choose_extractor
from hpsbench.recipes.schema import Recipe

_IMAGE_FILES = {"images", "videos", "frames", "shards"}
"""Names under which recipes list files that hold images."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureChoice:
    """What `prepare --features` comes to.

    Attributes:
        view: the recipe's default view.
        extractor: a name, or None where no features are made.
        reason: why not, and what to do; empty where there is an extractor.
    """

    view: str
    extractor: str | None
    reason: str = ""


def choose_features(
    recipe: Recipe, root: Path, wanted: str, *, synthetic: bool, store: Path | None = None
) -> FeatureChoice:
    """Resolve `auto`, `none` or an extractor's name for a dataset.

    A store whose clips name no images gets none, whatever is asked. `auto` is SPIN's ResNet-50 where its checkpoint is, else, for synthetic data, the embedded encoder, else nothing.
    """
    view = recipe.default_view
    if wanted == "none":
        return FeatureChoice(view=view, extractor=None, reason="annotations only, as asked")
    if not _IMAGE_FILES & set(recipe.files):
        return FeatureChoice(view=view, extractor=None, reason=f"{recipe.key} has no images")
    if store is not None and not _names_images(store):
        return FeatureChoice(view=view, extractor=None, reason="these raw files hold no images")
    if wanted != "auto":
        return FeatureChoice(view=view, extractor=wanted)
    extractor = choose_extractor(root, synthetic=synthetic)
    if extractor is not None:
        return FeatureChoice(view=view, extractor=extractor)
    return FeatureChoice(
        view=view,
        extractor=None,
        reason=f"annotations only: for features put SPIN's model_checkpoint.pt (fetch_data.sh of github.com/nkolot/SPIN) "
        f"at {root / SPIN_CHECKPOINT}, then run 'hpsbench extract {recipe.key}'",
    )


def _names_images(store: Path) -> bool:
    from hpsbench.store.reader import open_store

    return bool(open_store(store).clips["image_source"].notna().any())
