"""kMaX-DeepLab (k-means Mask Transformer) in TensorFlow: model, losses, post-processing and evaluation.

The names below are imported when they are first used: the parts without a network do not need TensorFlow.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kmax_tf.checkpoints.assignment import LoadReport
    from kmax_tf.checkpoints.errors import CheckpointError
    from kmax_tf.checkpoints.loading import load_checkpoint
    from kmax_tf.image_files import ImageError
    from kmax_tf.losses import build_loss
    from kmax_tf.model import build_model
    from kmax_tf.postprocessing.postprocessor import build_postprocessor
    from kmax_tf.predictor import Prediction, Predictor
    from protos.config import load_config
    from protos.descriptions import ConfigError

__all__ = [
    "CheckpointError",
    "ConfigError",
    "ImageError",
    "LoadReport",
    "Prediction",
    "Predictor",
    "build_loss",
    "build_model",
    "build_postprocessor",
    "load_checkpoint",
    "load_config",
]

_MODULES = {
    "CheckpointError": "kmax_tf.checkpoints.errors",
    "ConfigError": "protos.descriptions",
    "ImageError": "kmax_tf.image_files",
    "LoadReport": "kmax_tf.checkpoints.assignment",
    "Prediction": "kmax_tf.predictor",
    "Predictor": "kmax_tf.predictor",
    "build_loss": "kmax_tf.losses",
    "build_model": "kmax_tf.model",
    "build_postprocessor": "kmax_tf.postprocessing.postprocessor",
    "load_checkpoint": "kmax_tf.checkpoints.loading",
    "load_config": "protos.config",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_MODULES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
