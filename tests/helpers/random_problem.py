"""Random predictions and targets for testing properties of the losses."""

import numpy as np
import tensorflow as tf

from kmax_tf.layers.resize import resize_bilinear

HEIGHT, WIDTH, STRIDE = 9, 13, 4
THINGS = (1, 2, 3)
STUFF = (4, 5)


def make_outputs(slots=8, classes=6, ids=7, seed=0, batch=2):
    """Main output, semantic logits, and two auxiliary outputs, the first at half the resolution."""
    random = np.random.default_rng(seed)

    def prediction(height, width):
        features = random.standard_normal((batch, height, width, 6))
        return {
            "pixel_space_normalized_feature": features / np.linalg.norm(features, axis=-1, keepdims=True),
            "pixel_space_mask_logits": 3 * random.standard_normal((batch, height, width, slots)),
            "transformer_class_logits": random.standard_normal((batch, slots, classes + 1)),
        }

    main = prediction(HEIGHT, WIDTH) | {"semantic_logits": random.standard_normal((batch, HEIGHT, WIDTH, ids))}
    auxiliary = [prediction(5, 7), prediction(HEIGHT, WIDTH)]
    return to_tensors(main) | {"auxiliary_outputs": tuple(to_tensors(one) for one in auxiliary)}


def make_targets(things=6, seed=0, batch=2):
    """Two stuff regions, and things as small rectangles over them; the first row is void."""
    random = np.random.default_rng(seed)
    height, width = (HEIGHT - 1) * STRIDE + 1, (WIDTH - 1) * STRIDE + 1
    semantic = np.where(np.arange(width) < width // 2, *STUFF) * np.ones((batch, height, 1), int)
    thing = np.full((batch, height, width), -1)
    classes = random.choice(THINGS, (batch, things))
    for image in range(batch):
        for number in range(things):
            top, left = STRIDE * random.integers(1, HEIGHT - 2), STRIDE * random.integers(0, WIDTH - 2)
            semantic[image, top : top + 8, left : left + 8] = classes[image, number]
            thing[image, top : top + 8, left : left + 8] = number
    semantic[:, 0], thing[:, 0] = 0, -1
    return {
        "semantic_gt": tf.constant(semantic, tf.int32),
        "thing_id_mask_gt": tf.constant(thing, tf.int32),
        "thing_id_class_gt": tf.constant(classes, tf.int32),
        "semantic_loss_weight": tf.ones(semantic.shape),
    }


def to_tensors(arrays):
    return {key: tf.constant(value, tf.float32) for key, value in arrays.items()}


def permute_slots(outputs, order):
    """The same prediction with its slots in another order."""
    moved = dict(outputs)
    moved["pixel_space_mask_logits"] = tf.gather(outputs["pixel_space_mask_logits"], order, axis=3)
    moved["transformer_class_logits"] = tf.gather(outputs["transformer_class_logits"], order, axis=1)
    if "auxiliary_outputs" in outputs:
        moved["auxiliary_outputs"] = tuple(permute_slots(one, order) for one in outputs["auxiliary_outputs"])
    return moved


def enlarge_auxiliary(outputs):
    """The same prediction with auxiliary mask logits and features at the resolution of the main output."""
    enlarged = [
        {key: resize_bilinear(value, HEIGHT, WIDTH) if value.shape.rank == 4 else value for key, value in one.items()}
        for one in outputs["auxiliary_outputs"]
    ]
    return outputs | {"auxiliary_outputs": tuple(enlarged)}
