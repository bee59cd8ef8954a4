"""The public names of the package, and what is imported for the parts without a network."""

import subprocess
import sys

import kmax_tf

_IMPORT = """
import importlib, pkgutil, sys
import kmax_tf.coco_panoptic as room
for module in pkgutil.iter_modules(room.__path__):
    importlib.import_module(f"kmax_tf.coco_panoptic.{module.name}")
import kmax_tf
assert "build_model" in dir(kmax_tf) and not {"tensorflow", "tf_keras"} & set(sys.modules), sorted(sys.modules)
"""


def test_the_files_of_coco_do_not_need_tensorflow():
    done = subprocess.run([sys.executable, "-c", _IMPORT], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_public_names_are_those_of_their_modules():
    from kmax_tf.checkpoints.loading import load_checkpoint
    from protos.config import load_config

    assert kmax_tf.load_checkpoint is load_checkpoint and kmax_tf.load_config is load_config
    assert all(hasattr(kmax_tf, name) for name in kmax_tf.__all__)
    assert not hasattr(kmax_tf, "build_nothing")


def test_errors_of_a_user_have_one_base():
    from data.records.schema import DataError
    from kmax_tf.coco_panoptic.values import PanopticFileError
    from protos.errors import UserError

    assert all(issubclass(error, UserError) for error in (DataError, PanopticFileError, kmax_tf.ConfigError))
