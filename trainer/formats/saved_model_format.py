"""Writes a model as a SavedModel, which makes maps and a table of the segments of images of any size."""

import pathlib
from typing import Any

import tensorflow as tf

from kmax_tf.files.tensorflow_paths import literal_path
from kmax_tf.postprocessing.segment_table import segment_table
from kmax_tf.prediction.opening import FORMAT_FILES, SAVED_MODEL
from protos import experiment_pb2
from protos.config import dataset_info
from trainer.prediction.inference import IMAGE, IMAGES, Maps, PanopticPredictor


def write_saved_model(
    predictor: PanopticPredictor, config: experiment_pb2.ExperimentOptions, folder: pathlib.Path
) -> dict[str, Any]:
    """Writes saved_model.pb and the variables, and returns its entry in model.json.

    The signatures `serving_default`, for one image, and `batch` return the maps and kmax_tf.postprocessing.segment_table;
    `clusters` and `logits` are those of PanopticPredictor.
    """
    info, most = dataset_info(config), config.model_options.max_deeplab.num_mask_slots

    @tf.function(input_signature=[IMAGES], autograph=False)
    def batch(input_tensor: tf.Tensor) -> Maps:
        maps = predictor.batch(input_tensor)
        return maps | segment_table(maps, info, most)

    @tf.function(input_signature=[IMAGE], autograph=False)
    def one(input_tensor: tf.Tensor) -> Maps:
        return batch(input_tensor[None])

    signatures = {"serving_default": one, "batch": batch, "clusters": predictor.clusters, "logits": predictor.logits}
    tf.saved_model.save(predictor, literal_path(str(folder)), signatures=signatures)
    outputs = batch.get_concrete_function().structured_outputs
    return {
        "file": FORMAT_FILES[SAVED_MODEL],
        "input": {"name": "input_tensor", "dtype": "uint8", "shape": [None, None, 3]},
        "outputs": [
            {"name": name, "dtype": value.dtype.name, "shape": [1, *value.shape.as_list()[1:]]}
            for name, value in sorted(outputs.items())
        ],
        "signatures": sorted(signatures),
    }
