"""Color augmentation of the kMaX configs: the AutoAugment sub-policies without geometric operations.

From "AutoAugment" (Cubuk et al., 2019), with the selection and the arithmetic of DeepLab2. Images are uint8 [h, w, 3], casts to
uint8 truncate. An image may be a window of a larger one: all operations except Equalize and the corrected Contrast give the
same pixels there, if Sharpness gets one more pixel on each side that is not an image border.
"""

import dataclasses
import functools
from collections.abc import Callable

import tensorflow as tf

# Two (operation, probability, magnitude 0..10) per sub-policy; one sub-policy is drawn per image.
_SUB_POLICIES = (
    (("sharpness", 0.4, 7.0), ("brightness", 0.2, 10.0)),
    (("equalize", 0.0, 0.0), ("contrast", 0.2, 10.0)),
    (("sharpness", 0.2, 9.0), ("color", 0.2, 9.0)),
    (("solarize", 0.2, 7.0), ("equalize", 0.6, 0.0)),
    (("sharpness", 0.2, 1.0), ("equalize", 0.2, 0.0)),
)
_MAGNITUDE_SCALES = {"simple_classification_policy": 1.0, "simple_classification_policy_magnitude_scale_0.2": 0.2}
NUM_DRAWS = 3


@dataclasses.dataclass(frozen=True)
class Policy:
    """The strength of the operations.

    `scale` multiplies the magnitudes. With `reference_quirks` it does so literally, as in the training of the published
    Cityscapes models: the factors of Sharpness and others move away from 1 (magnitude 5 changes nothing) and Solarize inverts
    more values, so the "weaker" policy is stronger; and Contrast blends with the number of pixels / 256, which is white for
    most images, instead of the mean gray value. Without, `scale` multiplies the distance from no change.
    """

    scale: float = 1.0
    reference_quirks: bool = True

    def enhancement(self, magnitude: float) -> float:
        """Factor of Sharpness, Brightness, Color and Contrast; 1 changes nothing."""
        if self.reference_quirks:
            return magnitude * self.scale / 10 * 1.8 + 0.1
        return 1 + self.scale * (magnitude / 10 * 1.8 - 0.9)

    def solarize_threshold(self, magnitude: float) -> int:
        """The smallest value that is inverted; 256 changes nothing."""
        if self.reference_quirks:
            return int(magnitude * self.scale / 10 * 256)
        return round(256 - self.scale * (256 - magnitude / 10 * 256))


@dataclasses.dataclass(frozen=True)
class Draw:
    """The random choices for one image: number of the sub-policy (int32 scalar), and whether its operations apply (bool [2]).

    `needs_whole_image` (bool scalar): a window of the image is not enough.
    """

    sub_policy: tf.Tensor
    applied: tf.Tensor
    needs_whole_image: tf.Tensor


def named_policy(name: str, *, reference_quirks: bool) -> Policy:
    """The policy with this name, one of protos.rules.AUTOAUGMENT_POLICIES."""
    return Policy(_MAGNITUDE_SCALES[name], reference_quirks)


def draw(uniform: tf.Tensor, policy: Policy) -> Draw:
    """Makes the random choices with NUM_DRAWS random numbers in [0, 1)."""
    global_operations = ("equalize",) if policy.reference_quirks else ("equalize", "contrast")
    sub_policy = tf.cast(uniform[0] * len(_SUB_POLICIES), tf.int32)
    probabilities = tf.constant([[operation[1] for operation in pair] for pair in _SUB_POLICIES])
    is_global = tf.constant([[operation[0] in global_operations for operation in pair] for pair in _SUB_POLICIES])
    applied = uniform[1:3] < probabilities[sub_policy]
    return Draw(sub_policy, applied, tf.reduce_any(applied & is_global[sub_policy]))


def augment(image: tf.Tensor, choices: Draw, num_pixels: tf.Tensor, policy: Policy) -> tf.Tensor:
    """Applies the choices of `draw`.

    Args:
      image: the image, or a window of it unless `choices.needs_whole_image`.
      choices: see draw.
      num_pixels: number of pixels of the whole image.
      policy: the strength of the operations.
    """

    def apply_pair(pair: tuple) -> tf.Tensor:
        result = image
        for position, (name, _, magnitude) in enumerate(pair):
            operation = _operation(name, magnitude, num_pixels, policy)
            result = tf.cond(
                choices.applied[position], functools.partial(operation, result), functools.partial(tf.identity, result)
            )
        return result

    branches = [functools.partial(apply_pair, pair) for pair in _SUB_POLICIES]
    return tf.cond(tf.reduce_any(choices.applied), lambda: tf.switch_case(choices.sub_policy, branches), lambda: image)


def _operation(name: str, magnitude: float, num_pixels: tf.Tensor, policy: Policy) -> Callable[[tf.Tensor], tf.Tensor]:
    factor = policy.enhancement(magnitude)
    operations = {
        "sharpness": functools.partial(sharpness, factor=factor),
        "brightness": functools.partial(brightness, factor=factor),
        "color": functools.partial(color, factor=factor),
        "contrast": lambda image: blend(
            published_gray(num_pixels) if policy.reference_quirks else mean_gray(image), image, factor
        ),
        "solarize": functools.partial(solarize, threshold=policy.solarize_threshold(magnitude)),
        "equalize": equalize,
    }
    return operations[name]


def blend(first: tf.Tensor, second: tf.Tensor, factor: float) -> tf.Tensor:
    """first + factor (second - first), clipped to 0..255, as uint8."""
    first, second = tf.cast(first, tf.float32), tf.cast(second, tf.float32)
    return tf.cast(tf.clip_by_value(first + factor * (second - first), 0.0, 255.0), tf.uint8)


def color(image: tf.Tensor, factor: float) -> tf.Tensor:
    """Blends with the gray image: factor 0 gives gray, 1 the image."""
    return blend(tf.image.rgb_to_grayscale(image), image, factor)


def brightness(image: tf.Tensor, factor: float) -> tf.Tensor:
    """Blends with black: factor 0 gives black, 1 the image."""
    return blend(tf.zeros_like(image), image, factor)


def published_gray(num_pixels: tf.Tensor) -> tf.Tensor:
    """The gray value that the published Contrast blends with: the sum of a histogram (the number of pixels) / 256."""
    return tf.minimum(num_pixels // 256, 255)


def mean_gray(image: tf.Tensor) -> tf.Tensor:
    """The rounded mean gray value of an image, which Contrast should blend with (like pillow's ImageEnhance.Contrast)."""
    return tf.cast(tf.reduce_mean(tf.cast(tf.image.rgb_to_grayscale(image), tf.float32)) + 0.5, tf.int32)


def sharpness(image: tf.Tensor, factor: float) -> tf.Tensor:
    """Blends with the smoothed image: factor 0 is smooth, 1 the image, above 1 sharper. Border pixels keep their values."""
    kernel = tf.constant([[1, 1, 1], [1, 5, 1], [1, 1, 1]], tf.float32) / 13.0
    kernel = tf.tile(kernel[:, :, None, None], [1, 1, 3, 1])
    shape = tf.shape(image)
    # The convolution fails on an image without inner pixels.
    has_inside = tf.reduce_min(shape[:2]) >= 3

    def smooth_inside() -> tf.Tensor:
        pixels = tf.cast(image, tf.float32)[None]
        smooth = tf.nn.depthwise_conv2d(pixels, kernel, [1, 1, 1, 1], "VALID")[0]
        smooth = tf.cast(tf.clip_by_value(smooth, 0.0, 255.0), tf.uint8)
        inside = blend(smooth, image[1:-1, 1:-1], factor)
        middle = tf.concat([image[1:-1, :1], inside, image[1:-1, -1:]], axis=1)
        return tf.concat([image[:1], middle, image[-1:]], axis=0)

    return tf.cond(has_inside, smooth_inside, lambda: image)


def solarize(image: tf.Tensor, threshold: int) -> tf.Tensor:
    """Inverts the values that are at least `threshold`."""
    if threshold > 255:
        return image
    # Inverting flips all bits; tf.where on two uint8 images is forty times slower.
    inverted = tf.cast(image >= tf.constant(threshold, tf.uint8), tf.uint8) * tf.constant(255, tf.uint8)
    return tf.bitwise.bitwise_xor(image, inverted)


def equalize(image: tf.Tensor) -> tf.Tensor:
    """Equalizes the histogram of each channel with the lookup table of pillow's ImageOps.equalize."""
    channel_start = tf.constant([0, 256, 512], tf.int32)
    values = tf.cast(image, tf.int32) + channel_start
    histogram = tf.reshape(tf.math.bincount(tf.reshape(values, [-1]), minlength=768, maxlength=768), [3, 256])
    last_value = 255 - tf.argmax(tf.cast(histogram[:, ::-1] > 0, tf.int32), axis=1, output_type=tf.int32)
    last_count = tf.gather(histogram, last_value, batch_dims=1)
    step = (tf.reduce_sum(histogram, axis=1) - last_count) // 255
    divisor = tf.maximum(step, 1)[:, None]
    table = (tf.cumsum(histogram, axis=1, exclusive=True) + divisor // 2) // divisor
    table = tf.where(step[:, None] == 0, tf.range(256)[None], tf.clip_by_value(table, 0, 255))
    return tf.cast(tf.gather(tf.reshape(table, [-1]), values), tf.uint8)
