"""kMaX-DeepLab (k-means Mask Transformer) in TensorFlow: model, losses, post-processing and evaluation."""

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
