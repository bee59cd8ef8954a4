"""Names of the model's variables."""

from collections.abc import Iterator

import tensorflow as tf
import tf_keras


def named_variables(layer: tf_keras.layers.Layer) -> dict[str, tf.Variable]:
    """All variables of a built layer by path, e.g. "kmax_decoder/stages/0/1/ffn_hidden/dense/kernel".

    Paths consist of attribute names and list indices, as in the keys of our checkpoints.
    """
    return {path.removeprefix("/"): variable for path, variable in _walk(layer, "")}


def _walk(node: object, path: str) -> Iterator[tuple[str, tf.Variable]]:
    if isinstance(node, tf.Variable):
        yield path, node
    elif isinstance(node, list | tuple):
        for position, child in enumerate(node):
            yield from _walk(child, f"{path}/{position}")
    elif type(node).__module__.startswith("tf_keras."):
        for variable in node.weights:
            yield f"{path}/{variable.name.rsplit('/', 1)[-1].removesuffix(':0')}", variable
    elif isinstance(node, tf_keras.layers.Layer):
        for name, child in vars(node).items():
            if not name.startswith("_") and isinstance(child, tf.Variable | list | tuple | tf_keras.layers.Layer):
                yield from _walk(child, f"{path}/{name}")
