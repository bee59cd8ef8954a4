"""Runs SavedModels of trainer/export.py, also those of earlier versions."""

import pathlib
from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from kmax_tf.files.tensorflow_paths import literal_path
from kmax_tf.postprocessing.segment_table import TABLE_KEYS
from kmax_tf.prediction.engine import Maps
from kmax_tf.prediction.one_call import ONE_CALL
from protos.descriptions import ConfigError, DatasetInfo


class SavedModelEngine:
    """The signatures of a SavedModel: `serving_default` for one image, `batch` for several and `clusters`, if it has them."""

    def __init__(self, folder: pathlib.Path, dataset: DatasetInfo, *, clusters: bool):
        """`clusters`: whether predictions include the cluster assignment of each decoder.

        Raises:
          ConfigError: the SavedModel is damaged, or has no signature `clusters` where that is asked for.
        """
        self.dataset = dataset
        try:
            self._model = tf.saved_model.load(literal_path(str(folder)))
        except (OSError, IndexError, ValueError, tf.errors.OpError):
            raise ConfigError(f"{folder}: the SavedModel is damaged: export or copy it again") from None
        signatures = self._model.signatures
        if clusters and "clusters" not in signatures:
            raise ConfigError(f"{folder}: the SavedModel has no signature `clusters`: export it again")
        self._one = _one_by_one(signatures, clusters)
        # Cluster assignments are for looking at, not for speed.
        self._batch = signatures["batch"] if "batch" in signatures and not clusters else None

    def predict(self, images: Sequence[np.ndarray]) -> list[Maps]:
        """See Engine."""
        if self._batch is None or len(images) == 1:
            with ONE_CALL:
                found = [_numpy(self._one(input_tensor=tf.constant(image))) for image in images]
            return [{name: value[0] for name, value in maps.items()} for maps in found]
        with ONE_CALL:
            maps = _numpy(self._batch(input_tensor=tf.constant(np.stack(images))))
        return [{name: value[i] for name, value in maps.items()} for i in range(len(images))]


def _one_by_one(signatures: dict[str, Callable], clusters: bool) -> Callable[..., dict[str, tf.Tensor]]:
    predict = signatures["serving_default"]
    if not clusters:
        return predict
    assign = signatures["clusters"]
    if "panoptic_pred" in assign.structured_outputs:
        return assign
    # Exported before `clusters` returned the maps, too.
    return lambda input_tensor: predict(input_tensor=input_tensor) | assign(input_tensor=input_tensor)


def _numpy(tensors: dict[str, tf.Tensor]) -> Maps:
    # kmax_tf.Predictor measures segments of every format in the same way.
    return {name: value.numpy() for name, value in tensors.items() if name not in TABLE_KEYS}
