"""Which features `prepare` makes after the annotations, or why it makes none."""

from dataclasses import dataclass
from pathlib import Path

from hpsbench.features.backbones import SPIN_CHECKPOINT, choose_extractor
from hpsbench.recipes.schema import Recipe


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


def choose_features(recipe: Recipe, root: Path, wanted: str, *, synthetic: bool) -> FeatureChoice:
    """Resolve `auto`, `none` or an extractor's name for a dataset.

    `auto` is SPIN's ResNet-50 where its checkpoint is, else, for synthetic data, the embedded encoder, else nothing.
    """
    view = recipe.default_view
    if wanted == "none":
        return FeatureChoice(view=view, extractor=None, reason="annotations only, as asked")
    if "images" not in recipe.files:
        return FeatureChoice(view=view, extractor=None, reason=f"{recipe.key} has no images")
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
