"""The path from one image of any size to its panoptic map, which SavedModels contain."""

import tensorflow as tf

from data.input import resize_and_pad
from kmax_tf import build_model, load_checkpoint
from kmax_tf.inference_graph import fold_norms, inference_maps
from kmax_tf.model import KMaXDeepLab
from kmax_tf.postprocessing.postprocessor import cluster_maps
from kmax_tf.postprocessing.raw_size import build_restore
from kmax_tf.prediction.in_memory import input_size
from kmax_tf.prediction.placement import without_padding
from kmax_tf.tensor_keys import CLASS_LOGITS, MASK_LOGITS, Outputs
from protos import experiment_pb2

IMAGE = tf.TensorSpec([None, None, 3], tf.uint8, "input_tensor")
IMAGES = tf.TensorSpec([None, None, None, 3], tf.uint8, "input_tensor")
Maps = dict[str, tf.Tensor]


class PanopticPredictor(tf.Module):
    """Resizes and pads an image as evaluation does, predicts, and restores the maps to the size of the image.

    `network` alone is a function of network inputs [B,H,W,3] of the size of evaluation, 0..255, that returns the outputs of the
    model.
    """

    def __init__(self, model: KMaXDeepLab, config: experiment_pb2.ExperimentOptions, *, compiled: bool = True):
        """`config` determines the input size (that of evaluation, if it has one) and the post-processing.

        `compiled`: use XLA (kmax_tf.inference_graph.inference_maps), which programs that convert a graph cannot read.
        """
        super().__init__(name="panoptic_predictor")
        self._size = input_size(config)
        # A SavedModel needs the variables; the model itself would be traced layer by layer and need tf_keras to load.
        self.network = lambda images: model(images, training=False, semantic=False)
        self._predict_maps = inference_maps(model, config, compiled=compiled)
        self._restore = build_restore(config)
        self._model_variables = model.variables

    @tf.function(input_signature=[IMAGE], autograph=False)
    def __call__(self, input_tensor: tf.Tensor) -> Maps:
        """RGB image uint8 [H,W,3] -> the maps of `kmax_tf.build_postprocessor`, each [1,H,W] as DeepLab2 exports them."""
        return self.batch(input_tensor[None])

    @tf.function(input_signature=[IMAGES], autograph=False)
    def batch(self, input_tensor: tf.Tensor) -> Maps:
        """RGB images uint8 [B,H,W,3] -> the maps of `__call__`, [B,H,W]."""
        maps = self.logits(input_tensor)
        return {name: value for name, value in maps.items() if name not in (CLASS_LOGITS, MASK_LOGITS)}

    @tf.function(input_signature=[IMAGES], autograph=False)
    def logits(self, input_tensor: tf.Tensor) -> Maps:
        """The maps of `batch`, and the class and mask logits of the network input, with its padding, float32."""
        maps, outputs, _ = self._run(input_tensor)
        return maps | {name: tf.cast(outputs[name], tf.float32) for name in (CLASS_LOGITS, MASK_LOGITS)}

    @tf.function(input_signature=[IMAGE], autograph=False)
    def clusters(self, input_tensor: tf.Tensor) -> Maps:
        """The maps of `__call__`, and `decoder_<i>`: the slot of each pixel in the k-means step of decoder i, int32 [1,h,w]."""
        maps, outputs, place = self._run(input_tensor[None])
        slots = cluster_maps(outputs)
        return maps | {name: without_padding(value, place.size, place.crop) for name, value in slots.items()}

    def _run(self, images: tf.Tensor) -> tuple[Maps, Outputs, resize_and_pad.Placement]:
        size = tf.shape(images)[1:3]
        place = resize_and_pad.placement(size[0], size[1], self._size)
        placed = tf.map_fn(lambda image: resize_and_pad.place_image(image, place), images, fn_output_signature=tf.float32)
        maps, outputs = self._predict_maps(placed)
        return self._restore(maps, outputs, place.crop, place.size, size), outputs, place


def load_predictor(config: experiment_pb2.ExperimentOptions, checkpoint: str, *, compiled: bool = True) -> PanopticPredictor:
    """The predictor of a config with the weights of a checkpoint (a prefix, or a directory whose latest one is used).

    `compiled`: as for PanopticPredictor.

    Raises:
      CheckpointError: the checkpoint does not exist, is damaged, or belongs to another model.
    """
    model = build_model(config)
    load_checkpoint(model, checkpoint)
    fold_norms(model)
    return PanopticPredictor(model, config, compiled=compiled)
