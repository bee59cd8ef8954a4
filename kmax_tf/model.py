"""kMaX-DeepLab (arXiv:2207.04044): encoder -> pixel decoder -> kMaX decoder -> heads."""

import tensorflow as tf
import tf_keras

from kmax_tf.heads import MaskPredictor
from kmax_tf.input_check import check_input_size
from kmax_tf.kmax_decoder import KMaXDecoder
from kmax_tf.layers.normalization import NormSpec
from kmax_tf.layers.resize import resize_like
from kmax_tf.mask_relaxation import MaskRelaxation
from kmax_tf.pixel_decoder import PixelDecoder
from kmax_tf.pixel_encoders import build_encoder
from kmax_tf.semantic_branch import SemanticBranch
from kmax_tf.tensor_keys import AUXILIARY_OUTPUTS, MASK_LOGITS, PIXEL_FEATURES, SEMANTIC_LOGITS, Outputs
from protos import experiment_pb2, model_pb2, trainer_pb2
from protos.config import dataset_info
from protos.descriptions import DatasetInfo


class KMaXDeepLab(tf_keras.Model):
    """Panoptic segmentation by clustering pixels into N masks, each with a class."""

    def __init__(self, options: model_pb2.ModelOptions, info: DatasetInfo, norm: NormSpec):
        """`info`: the classes to predict; loading a checkpoint compares its classes with these."""
        super().__init__(name="kmax_deeplab")
        self.dataset_info = info
        num_classes = info.num_classes
        head = options.max_deeplab
        self.pixel_encoder = build_encoder(options.backbone, norm)
        self.pixel_decoder = PixelDecoder(options.pixel_decoder, norm)
        self.kmax_decoder = KMaXDecoder(head, num_classes, norm)
        self.predictor = MaskPredictor(head.pixel_space_head, num_classes, norm)
        self.semantic_branch = SemanticBranch(options, self.pixel_encoder.activation, norm)
        # Last: checkpoints of optimizers number the variables.
        self.mask_relaxation = MaskRelaxation(options, num_classes, norm) if head.relaxation.masks else None

    def call(self, images: tf.Tensor, training: bool = False, semantic: bool | None = None, any_size: bool = False) -> Outputs:
        """The masks, classes and features of a batch of images.

        Args:
          images: [B,H,W,3], RGB, 0..255, uint8 or float; H and W are 32k+1.
          training: use batch statistics and drop path, and resize auxiliary outputs to the size of the main one.
          semantic: compute semantic_logits, and those of relaxation.masks; by default only in training.
          any_size: accept other sizes too, at which features of different strides are not aligned; for counting and timing at
            the sizes that papers report, not for predictions.

        Returns:
          `transformer_class_logits` [B,N,C+1] ordered things, stuff, void; `pixel_space_mask_logits` [B,h,w,N] at stride 4
          (or that of the encoder's stage1 with a five-stage pixel decoder); `pixel_space_normalized_feature` [B,h,w,D];
          `auxiliary_outputs`: a tuple of dicts with these three keys, one for each kMaX decoder layer; `semantic_logits`
          [B,hs,ws,ids]. All float32. With relaxation.masks, the first dicts also have `relaxation_semantic_logits` [B,h,w,C].

        Raises:
          ValueError: H or W is not 32k+1. For dynamic sizes, running the graph raises tf.errors.InvalidArgumentError.
        """
        if not any_size:
            images = check_input_size(images)
        pixels = tf.cast(images, tf.float32) / 127.5 - 1.0
        features = self.pixel_encoder(tf.cast(pixels, self.compute_dtype), training=training)
        pixel_features = self.pixel_decoder(features, training=training)
        classes, masks, auxiliary = self.kmax_decoder(pixel_features, training=training)
        outputs = self.predictor(pixel_features[-1], classes, masks, training=training)
        if training:
            auxiliary = [_resized(prediction, outputs[MASK_LOGITS]) for prediction in auxiliary]
        if training if semantic is None else semantic:
            outputs[SEMANTIC_LOGITS] = self.semantic_branch(features, training=training)
            if self.mask_relaxation:
                auxiliary = self.mask_relaxation(pixel_features, auxiliary, training=training)
        outputs[AUXILIARY_OUTPUTS] = tuple(auxiliary)
        return outputs


def _resized(prediction: dict[str, tf.Tensor], main: tf.Tensor) -> dict[str, tf.Tensor]:
    """Resizes the mask logits and features of an auxiliary prediction to the resolution of the main one, for the losses."""
    return prediction | {key: resize_like(prediction[key], main) for key in (MASK_LOGITS, PIXEL_FEATURES)}


def build_model(config: experiment_pb2.ExperimentOptions) -> KMaXDeepLab:
    """Builds the model of a config from `load_config`, with variables at their initial values."""
    solver = config.trainer_options.solver_options
    norm = NormSpec(solver.batchnorm_momentum, solver.batchnorm_epsilon, solver.use_sync_batchnorm)
    info = dataset_info(config)
    bfloat16 = config.trainer_options.mixed_precision == trainer_pb2.TrainerOptions.BFLOAT16
    before = tf_keras.mixed_precision.global_policy()
    tf_keras.mixed_precision.set_global_policy("mixed_bfloat16" if bfloat16 else "float32")
    try:
        model = KMaXDeepLab(config.model_options, info, norm)
        # Variable shapes do not depend on the image size.
        model(tf.zeros([1, 33, 33, 3]), training=False, semantic=True)
    finally:
        tf_keras.mixed_precision.set_global_policy(before)
    return model
