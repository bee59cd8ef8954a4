"""Instance discrimination loss: pixels of one mask should have similar features, pixels of different masks should not."""

import tensorflow as tf

from kmax_tf import randomness
from kmax_tf.layers.sizes import sizes
from kmax_tf.losses.contrast import mean_contrast
from kmax_tf.losses.ground_truth import GroundTruth, sums_by_row
from kmax_tf.losses.reduction import mean_of_nonzero
from kmax_tf.losses.terms import MaskProblem, MaskTerm, Terms
from protos import trainer_pb2

_TEMPERATURE = 0.3
_EXCLUDED = 99999.0


def pixel_contrast(truth: GroundTruth, features: tf.Tensor, samples: int, area_exponent: float) -> tf.Tensor:
    """Contrast between sampled pixels (CMT-DeepLab, arXiv:2206.08948, section 3.2); [B].

    Args:
      truth: G rows over P pixels.
      features: [B,P,D].
      samples: number of pixels sampled without replacement; all pixels are used if P is not larger.
      area_exponent: the sampling weight of a pixel is (P / area of its mask) ** area_exponent; void pixels come last.
    """
    row = truth.row_of_pixel
    if samples < features.shape[1]:
        chosen = draw_pixels(truth, samples, area_exponent)
        row, features = _of_pixels(row, chosen), _of_pixels(features, chosen)
    # Void pixels have no target and zero loss, but the gradient for them is softmax - target, too, which pushes their features
    # away from all others. The published models were trained this way.
    return mean_contrast(features, row, truth.area.shape[1], _TEMPERATURE)


def _of_pixels(values: tf.Tensor, chosen: tf.Tensor) -> tf.Tensor:
    """values [B,P,...] at the pixels `chosen` [B,S], [B,S,...]."""
    pixels = values.shape[1]
    flat = tf.reshape(values, [-1, *values.shape[2:]])
    return tf.gather(flat, chosen + pixels * tf.range(sizes(chosen)[0])[:, None])


def draw_pixels(truth: GroundTruth, samples: int, area_exponent: float) -> tf.Tensor:
    """Indices of the sampled pixels, [B,samples] int32, by the Gumbel top-k trick; see `pixel_contrast`."""
    pixels = truth.row_of_pixel.shape[1]
    own_area = tf.gather(truth.area, tf.maximum(truth.row_of_pixel, 0), axis=1, batch_dims=1)
    own_area = tf.where(truth.row_of_pixel >= 0, tf.maximum(own_area, 1.0), 1.0)
    log_weight = tf.math.log(pixels / own_area) * area_exponent - _EXCLUDED * (1.0 - truth.labeled)
    # Avoids log(0).
    uniform = tf.maximum(randomness.uniform(sizes(log_weight)), 1e-20)
    return tf.math.top_k(log_weight - tf.math.log(-tf.math.log(uniform)), samples, sorted=False).indices


def mask_contrast(truth: GroundTruth, features: tf.Tensor) -> tf.Tensor:
    """Contrast between the pixels of things and mean mask features (MaX-DeepLab, equation 14), features [B,P,D]; [B]."""
    centers = tf.math.l2_normalize(
        sums_by_row(features, truth.row_of_pixel, truth.area.shape[1]) / tf.maximum(truth.area, 1.0)[..., None], -1
    )
    similarity = tf.einsum("bpd,bgd->bpg", features, centers) / _TEMPERATURE
    similarity = tf.where(truth.exists[:, None, :], similarity, -_EXCLUDED)
    loss = tf.nn.sparse_softmax_cross_entropy_with_logits(tf.maximum(truth.row_of_pixel, 0), similarity)
    return mean_of_nonzero(loss * truth.thing)


def _terms(problem: MaskProblem, options: trainer_pb2.SingleLossOptions) -> Terms:
    del options
    samples = problem.head.instance_discrimination_sample_k
    if samples > 0:
        exponent = problem.head.instance_discrimination_sample_temperature
        loss = pixel_contrast(problem.truth, problem.features, samples, exponent)
    else:
        loss = mask_contrast(problem.truth, problem.features)
    return {"instance_discrimination_loss": loss}


LOSS_TERMS = {"instance_discrimination_loss": MaskTerm(_terms)}
