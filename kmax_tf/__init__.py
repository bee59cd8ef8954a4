"""kMaX-DeepLab (k-means Mask Transformer) in TensorFlow: model, losses, post-processing and evaluation.

The names below are imported when they are first used: the parts without a network do not need TensorFlow.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kmax_tf.checkpoint import CheckpointError, LoadReport, load_checkpoint
    from kmax_tf.losses import build_loss
    from kmax_tf.model import build_model
    from kmax_tf.postprocess import build_postprocessor
    from protos.config import load_config
    from protos.descriptions import ConfigError

__all__ = [
    "CheckpointError",
    "ConfigError",
    "LoadReport",
    "build_loss",
    "build_model",
    "build_postprocessor",
    "load_checkpoint",
    "load_config",
]

_MODULES = {
    "CheckpointError": "kmax_tf.checkpoint",
    "ConfigError": "protos.descriptions",
    "LoadReport": "kmax_tf.checkpoint",
    "build_loss": "kmax_tf.losses",
    "build_model": "kmax_tf.model",
    "build_postprocessor": "kmax_tf.postprocess",
    "load_checkpoint": "kmax_tf.checkpoint",
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
