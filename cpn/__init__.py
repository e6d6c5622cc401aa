"""Cascaded Pyramid Network (Chen et al., CVPR 2018): train, evaluate OKS mAP, ablate, predict.

>>> import cpn
>>> predictor = cpn.load("https://example.org/model.safetensors")  # doctest: +SKIP
>>> model = cpn.load_model("runs/demo/best.safetensors")  # doctest: +SKIP
>>> predictor = cpn.Predictor.from_checkpoint("runs/demo/best.safetensors")  # doctest: +SKIP
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from cpn.version import __version__

if TYPE_CHECKING:
    from cpn.build import load_model
    from cpn.prediction.model_source import load
    from cpn.prediction.poses import Person, Poses
    from cpn.prediction.predictor import Predictor

__all__ = ["Person", "Poses", "Predictor", "__version__", "load", "load_model"]

_HOMES = {
    "Person": "cpn.prediction.poses",
    "Poses": "cpn.prediction.poses",
    "Predictor": "cpn.prediction.predictor",
    "load": "cpn.prediction.model_source",
    "load_model": "cpn.build",
}


def __getattr__(name: str) -> Any:  # noqa: ANN401 - whatever the name stands for
    """Imports on first use: `import cpn` must not cost the seconds that torch takes."""
    if name not in _HOMES:
        raise AttributeError(f"module 'cpn' has no attribute '{name}'")
    return getattr(import_module(_HOMES[name]), name)
