"""hpsbench: dataset toolkit and benchmark harness for 3D human pose and shape from video.

The public names are loaded on first use, so that `import hpsbench` costs nothing:

    import hpsbench as hb
    store = hb.open_store("data/stores/3dpw.zarr")
    result = hb.evaluate(hb.load_system("ckpt.pt"), hb.get_protocol("tcmr"), store)
"""

import importlib
from typing import Any

__version__ = "0.1.0"

# Public name -> the module that defines it. Names and rooms are kept apart: no name here is a submodule's.
_PUBLIC = {
    "open_store": "hpsbench.store.reader",
    "ClipStore": "hpsbench.store.reader",
    "windows": "hpsbench.store.windows",
    "get_recipe": "hpsbench.recipes.catalog",
    "list_recipes": "hpsbench.recipes.catalog",
    "get_protocol": "hpsbench.protocols.catalog",
    "list_protocols": "hpsbench.protocols.catalog",
    "get_system": "hpsbench.models._catalog",
    "list_systems": "hpsbench.models._catalog",
    "load_system": "hpsbench.models._catalog",
    "get_corruption": "hpsbench.corruption._catalog",
    "list_corruptions": "hpsbench.corruption._catalog",
    "list_tables": "hpsbench.tables.catalog",
    "reproduce": "hpsbench.tables.run",
    "HPSOutput": "hpsbench.models._system",
    "FeatureSystem": "hpsbench.models._adapter",
    "prepare": "hpsbench.pipeline.prepare",
    "extract": "hpsbench.pipeline.extract",
    "corrupt": "hpsbench.pipeline.corrupt",
    "evaluate": "hpsbench.evaluation.run",
    "predict": "hpsbench.evaluation.run",
    "score": "hpsbench.evaluation.score",
    "Result": "hpsbench.results.result",
    "Track": "hpsbench.types",
    "BodyParams": "hpsbench.types",
    "ClipInput": "hpsbench.types",
    "Inputs": "hpsbench.types",
    "Prediction": "hpsbench.types",
    "WindowRule": "hpsbench.types",
    "HpsbenchError": "hpsbench.errors",
}

_ROOMS = {"metrics"}

__all__ = ["__version__", "metrics", *_PUBLIC]


def __getattr__(name: str) -> Any:
    """Import the module behind a public name on first use (PEP 562)."""
    if name in _ROOMS:
        return importlib.import_module(f"hpsbench.{name}")
    if name in _PUBLIC:
        value = getattr(importlib.import_module(_PUBLIC[name]), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'hpsbench' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
