"""An encoder without the rest of the model, for tests that load its weights."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from kmax_tf.checkpoints.errors import CheckpointError
from kmax_tf.checkpoints.loading import load_encoder
from kmax_tf.checkpoints.variable_names import named_variables
from kmax_tf.layers.normalization import NormSpec
from kmax_tf.pixel_encoders import build_encoder
from protos import model_pb2


class EncoderAlone(tf_keras.layers.Layer):
    """The part of a model that is needed for loading: a built encoder."""

    def __init__(self, name: str):
        super().__init__()
        self.pixel_encoder = build_encoder(model_pb2.BackboneOptions(name=name), NormSpec())
        self.pixel_encoder(tf.zeros([1, 33, 33, 3]))


def assert_everything_loaded(model, report):
    assert sorted(report.loaded) == sorted(named_variables(model))
    assert report.missing == report.unexpected == report.mismatched == ()


def refused(model, path):
    """Returns the error message of loading, and checks that it changed no variable."""
    before = [variable.numpy() for variable in model.variables]
    with pytest.raises(CheckpointError) as caught:
        load_encoder(model, path)
    for variable, value in zip(model.variables, before):
        np.testing.assert_array_equal(variable, value)
    message = str(caught.value)
    assert message.startswith(f"{path}: ") and len(message) < 1500
    return message
