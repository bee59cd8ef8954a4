"""Checkpoints in DeepLab2's own format: object-based, with its object paths and pseudorandom weights."""

import math
import zlib
from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import trackable_object_graph_pb2

_SUFFIX = "/.ATTRIBUTES/VARIABLE_VALUE"


def draw_weight(key: str, shape: Sequence[int], seed: int = 0) -> np.ndarray:
    """The float32 value of the variable with object path `key`: normal random numbers seeded by the path.

    The scale depends on the last part of the path, so that activations neither vanish nor explode.
    """
    normal = np.random.default_rng(zlib.crc32(f"{seed}:{key}".encode())).standard_normal(tuple(shape))
    leaf = key.rpartition("/")[2]
    closes_branch = "conv3_bn/" in key or "ffn_conv2_bn/" in key
    if leaf == "gamma":
        value = 0.2 + 0.02 * normal if closes_branch else 1 + 0.1 * normal
    elif leaf == "moving_variance":
        value = np.abs(1 + 0.1 * normal)
    elif leaf in ("beta", "bias", "moving_mean", "layer_scale"):
        value = 0.1 * normal
    elif leaf == "depthwise_kernel":
        value = normal * np.sqrt(2.0 / math.prod(shape[:2]))
    elif leaf == "kernel" and len(shape) > 1:
        value = normal * np.sqrt(2.0 / math.prod(shape[:-1]))
    else:
        value = 0.5 * normal
    return value.astype(np.float32)


def write_checkpoint(prefix: str, values: Mapping[str, np.ndarray]) -> None:
    """Writes {object path: value} like a trained DeepLab2 model, with step, save counter and object graph."""
    values = dict(values) | {"global_step": np.int64(150000), "save_counter": np.int64(150)}
    names = [key + _SUFFIX for key in values] + ["_CHECKPOINTABLE_OBJECT_GRAPH"]
    tensors = [tf.constant(value) for value in values.values()] + [tf.constant(_object_graph(values))]
    tf.raw_ops.SaveV2(prefix=prefix, tensor_names=names, shape_and_slices=[""] * len(names), tensors=tensors)


def _object_graph(keys: Mapping[str, np.ndarray]) -> bytes:
    """A node for each part of each object path, which TensorFlow requires for restoring."""
    graph = trackable_object_graph_pb2.TrackableObjectGraph()
    graph.nodes.add()
    node_of_path = {(): 0}
    for key in keys:
        parts = tuple(key.split("/"))
        for end in range(1, len(parts) + 1):
            if parts[:end] not in node_of_path:
                node_of_path[parts[:end]] = len(graph.nodes)
                graph.nodes[node_of_path[parts[: end - 1]]].children.add(node_id=len(graph.nodes), local_name=parts[end - 1])
                graph.nodes.add()
        leaf = graph.nodes[node_of_path[parts]]
        leaf.attributes.add(name="VARIABLE_VALUE", full_name=key, checkpoint_key=key + _SUFFIX)
    return graph.SerializeToString()
