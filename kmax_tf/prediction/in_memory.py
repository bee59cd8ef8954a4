"""Runs a model in memory, with the post-processing of kmax_tf.build_postprocessor."""

import numpy as np
import tensorflow as tf
from absl import logging

from kmax_tf.checkpoints.loading import load_checkpoint
from kmax_tf.inference_graph import fold_norms, inference_maps
from kmax_tf.model import build_model
from kmax_tf.postprocessing.postprocessor import cluster_maps
from kmax_tf.prediction.engine import FixedSizeEngine
from kmax_tf.prediction.one_call import ONE_CALL
from kmax_tf.prediction.placement import InputSize
from kmax_tf.prediction.processor import bfloat16_problem
from protos import experiment_pb2, trainer_pb2
from protos.config import dataset_info
from protos.validation import dataset_sections


def checkpoint_engine(config: experiment_pb2.ExperimentOptions, checkpoint: str, *, clusters: bool) -> FixedSizeEngine:
    """The model of a config with the weights of a checkpoint; `clusters`: whether it also returns cluster assignments.

    Raises:
      CheckpointError: the checkpoint does not exist, is damaged, or belongs to another model.
      ConfigError: the config asks for merging at the raw size.
    """
    if config.trainer_options.mixed_precision == trainer_pb2.TrainerOptions.BFLOAT16 and (problem := bfloat16_problem()):
        logging.warning("trainer_options.mixed_precision BFLOAT16: %s", problem)
    model = build_model(config)
    load_checkpoint(model, checkpoint)
    fold_norms(model)
    predict, size = inference_maps(model, config), input_size(config)

    @tf.function(input_signature=[tf.TensorSpec([None, *size.crop, 3], tf.float32)], autograph=False)
    def call(images: tf.Tensor) -> dict[str, tf.Tensor]:
        maps, outputs = predict(images)
        return maps | cluster_maps(outputs) if clusters else maps

    def run(batch: np.ndarray) -> dict[str, np.ndarray]:
        with ONE_CALL:
            return {name: value.numpy() for name, value in call(tf.constant(batch)).items()}

    return FixedSizeEngine(run, size, dataset_info(config), config.evaluator_options, batches=True)


def input_size(config: experiment_pb2.ExperimentOptions) -> InputSize:
    """The input size of evaluation, or of training if the config has no evaluation, from a resolved config."""
    _, options = dataset_sections(config)[-1]
    return InputSize.from_options(options)
