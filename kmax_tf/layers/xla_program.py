"""Programs of XLA: functions with jit_compile, and all that runs on TPUs."""

import tensorflow as tf
from tensorflow.python.ops import control_flow_util


def in_xla_program() -> bool:
    """Whether the graph that is traced here belongs to a program of XLA."""
    return not tf.executing_eagerly() and control_flow_util.GraphOrParentsInXlaContext(tf.compat.v1.get_default_graph())
