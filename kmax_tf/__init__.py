"""kMaX-DeepLab (k-means Mask Transformer) in TensorFlow: model, losses, post-processing and evaluation.

The names below are imported when they are first used: the parts without a network do not need TensorFlow.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # the same names as in _MODULES
    from kmax_tf.checkpoints.assignment import LoadReport as LoadReport
    from kmax_tf.checkpoints.errors import CheckpointError as CheckpointError
    from kmax_tf.checkpoints.loading import load_checkpoint as load_checkpoint
    from kmax_tf.image_files import ImageError as ImageError
    from kmax_tf.losses import build_loss as build_loss
    from kmax_tf.model import build_model as build_model
    from kmax_tf.postprocessing.postprocessor import build_postprocessor as build_postprocessor
    from kmax_tf.predictor import Prediction as Prediction
    from kmax_tf.predictor import Predictor as Predictor
    from protos.config import load_config as load_config
    from protos.errors import ConfigError as ConfigError

_MODULES = {
    "CheckpointError": "kmax_tf.checkpoints.errors",
    "ConfigError": "protos.errors",
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
__all__ = list(_MODULES)


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = getattr(importlib.import_module(_MODULES[name]), name)
    return globals()[name]


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
