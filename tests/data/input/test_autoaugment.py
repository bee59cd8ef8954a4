"""Color operations against sums of the published code and against pillow, and windows against the whole image."""

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageEnhance, ImageOps

from data.input import autoaugment
from protos.rules import AUTOAUGMENT_POLICIES

_IMAGE = np.random.RandomState(3).randint(0, 256, (12, 16, 3)).astype(np.uint8)


def _factor(magnitude):
    return magnitude / 10 * 1.8 + 0.1


def _sum(image):
    return int(image.numpy().sum(dtype=np.int64))


@pytest.mark.parametrize(
    ("operation", "sums"),
    [
        (autoaugment.sharpness, {7: 73407, 9: 73605, 1: 73070, 1.4: 73081, 0.2: 73018}),
        (autoaugment.brightness, {10: 106467, 2: 33508}),
        (autoaugment.color, {9: 72331, 1.8: 74665}),
        (lambda image, factor: autoaugment.blend(autoaugment.published_gray(12 * 16), image, factor), {10: 106467, 2: 33508}),
    ],
)
def test_golden_sums(operation, sums):
    assert int(_IMAGE.sum()) == 73483
    for magnitude, expected in sums.items():
        assert _sum(operation(tf.constant(_IMAGE), _factor(magnitude))) == expected


def test_golden_sums_without_a_factor():
    assert _sum(autoaugment.solarize(tf.constant(_IMAGE), 179)) == 41029
    assert _sum(autoaugment.solarize(tf.constant(_IMAGE), 35)) == 52884
    assert _sum(autoaugment.equalize(tf.constant(_IMAGE))) == 73483


def test_equalize_agrees_with_pillow():
    rng = np.random.default_rng(0)
    for image in (
        rng.normal(90, 25, (60, 70, 3)).clip(0, 255).astype(np.uint8),
        np.full((20, 20, 3), 77, np.uint8),
        rng.integers(0, 3, (50, 40, 3)).astype(np.uint8),
    ):
        expected = np.asarray(ImageOps.equalize(Image.fromarray(image)))
        np.testing.assert_array_equal(autoaugment.equalize(tf.constant(image)), expected)


def _apply(sub_policy, position, image, policy):
    """One operation of a sub-policy."""
    choices = autoaugment.Draw(tf.constant(sub_policy), tf.constant([position == 0, position == 1]), tf.constant(True))
    return autoaugment.augment(tf.constant(image), choices, tf.constant(image.shape[0] * image.shape[1]), policy).numpy()


def test_contrast_of_large_images_blends_with_white():
    """The bug of the published code: it blends with 255 instead of the mean gray value."""
    image = np.random.default_rng(0).normal(90, 25, (300, 300, 3)).clip(0, 255).astype(np.uint8)
    quirky = _apply(1, 1, image, autoaugment.Policy(0.2))
    factor = np.float32(_factor(2))
    np.testing.assert_array_equal(quirky, np.clip(255 + factor * (image.astype(np.float32) - 255), 0, 255).astype(np.uint8))
    corrected = _apply(1, 1, image, autoaugment.Policy(1.0, reference_quirks=False))
    expected = np.asarray(ImageEnhance.Contrast(Image.fromarray(image)).enhance(_factor(10)))
    assert np.abs(corrected.astype(int) - expected).max() <= 1


def test_weaker_magnitudes():
    """In the published code, 0.2 makes the operations stronger; with the correction, it makes them weaker."""
    quirky, corrected = autoaugment.Policy(0.2), autoaugment.Policy(0.2, reference_quirks=False)
    np.testing.assert_allclose([quirky.enhancement(m) for m in (7, 10, 9, 1)], [0.352, 0.46, 0.424, 0.136])
    np.testing.assert_allclose([corrected.enhancement(m) for m in (7, 10, 9, 1, 5)], [1.072, 1.18, 1.144, 0.856, 1.0])
    assert (quirky.solarize_threshold(7), corrected.solarize_threshold(7)) == (35, 241)
    for magnitude in (1, 7, 9, 10):
        plain = [autoaugment.Policy(1.0, reference_quirks=q) for q in (True, False)]
        assert plain[0].enhancement(magnitude) == pytest.approx(plain[1].enhancement(magnitude))
    assert autoaugment.Policy(1.0, reference_quirks=False).solarize_threshold(7) == 179
    assert (_apply(3, 0, _IMAGE, corrected) != _IMAGE).sum() < (_apply(3, 0, _IMAGE, quirky) != _IMAGE).sum()


def test_draw_follows_the_policy():
    uniform = np.stack(np.meshgrid(np.linspace(0, 0.999, 50), np.linspace(0, 0.99, 20), np.linspace(0, 0.99, 20)), -1)

    @tf.function
    def draws(uniform):
        signature = (tf.int32, tf.bool, tf.bool)
        policy = autoaugment.Policy()
        return tf.map_fn(lambda u: tuple(vars(autoaugment.draw(u, policy)).values()), uniform, fn_output_signature=signature)

    sub_policy, applied, whole = (value.numpy() for value in draws(tf.constant(uniform.reshape(-1, 3), tf.float32)))
    np.testing.assert_array_equal(np.bincount(sub_policy), [4000] * 5)
    shares = np.stack([applied[sub_policy == s].mean(0) for s in range(5)])
    np.testing.assert_allclose(shares, [[0.4, 0.2], [0.0, 0.2], [0.2, 0.2], [0.2, 0.6], [0.2, 0.2]], atol=0.051)
    np.testing.assert_array_equal(whole, (sub_policy >= 3) & applied[:, 1])


@pytest.mark.parametrize("sub_policy", range(5))
@pytest.mark.parametrize("scale", [1.0, 0.2])
def test_a_window_changes_as_the_whole_image_does(sub_policy, scale):
    image = np.random.default_rng(1).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    for applied in ([True, False], [False, True], [True, True]):
        choices = autoaugment.Draw(tf.constant(sub_policy), tf.constant(applied), tf.constant(False))
        if sub_policy >= 3 and applied[1] or sub_policy == 1 and applied[0]:
            continue
        whole = autoaugment.augment(tf.constant(image), choices, tf.constant(2000), autoaugment.Policy(scale)).numpy()
        window = autoaugment.augment(
            tf.constant(image[9:31, 4:25]), choices, tf.constant(2000), autoaugment.Policy(scale)
        ).numpy()
        np.testing.assert_array_equal(window[1:-1, 1:-1], whole[10:30, 5:24])
        assert (whole != image).any()


def test_policy_names():
    assert [autoaugment.named_policy(name, reference_quirks=True) for name in AUTOAUGMENT_POLICIES if name] == [
        autoaugment.Policy(1.0, True),
        autoaugment.Policy(0.2, True),
    ]


def test_only_corrected_contrast_needs_the_whole_image():
    u = tf.constant([0.3, 0.9, 0.1])
    assert not autoaugment.draw(u, autoaugment.Policy()).needs_whole_image
    assert autoaugment.draw(u, autoaugment.Policy(reference_quirks=False)).needs_whole_image
