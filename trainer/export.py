"""Exports a trained model as a SavedModel that runs with TensorFlow alone.

python trainer/export.py --config_file=F --checkpoint=DIR_OR_PREFIX --output_dir=D

The signature `serving_default` maps `input_tensor`, an RGB image uint8 [H,W,3] of any size, to panoptic_pred, semantic_pred,
instance_pred, instance_scores and semantic_scores, each [1,H,W]; `clusters` also returns the k-means assignment of each
decoder. The config and the description of the classes are stored next to the SavedModel.
"""

import os
import pathlib
import shutil
import sys

if __name__ == "__main__":
    sys.path[0] = str(pathlib.Path(__file__).parents[1])  # also works in a clone that is not installed
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # TensorFlow raises errors as exceptions

import numpy as np
import tensorflow as tf
from absl import flags

from kmax_tf import load_config
from kmax_tf.cli.command import run_command
from kmax_tf.cli.command_flags import define_config_flags, define_path
from kmax_tf.files.lock import LOCK_NAME, own_folder
from kmax_tf.files.tensorflow_paths import literal_path
from kmax_tf.predictor import DESCRIPTION_FILE, is_exported
from protos import descriptions, experiment_pb2
from protos.config import config_to_text, dataset_info
from protos.errors import UserError
from trainer.inference import PanopticPredictor, load_predictor

# Minimum share of pixels on which the exported model must agree with the in-memory model.
_LEAST_AGREEMENT = 0.999


def export(predictor: PanopticPredictor, config: experiment_pb2.ExperimentOptions, output_dir: pathlib.Path) -> None:
    """Writes the SavedModel, verifies it against the in-memory model, and replaces the old one.

    Raises:
      UserError: output_dir is in use, cannot be written or contains other files; or the exported model predicts something else
        than the in-memory model.
    """
    if output_dir.exists() and any(output_dir.iterdir()) and not is_exported(output_dir):
        raise UserError(f"output_dir {output_dir} contains files, but no SavedModel of this command: choose another folder")
    partial = output_dir.with_name(output_dir.name + ".partial")
    try:
        with own_folder(partial, shown=output_dir):
            # An export that was interrupted leaves files.
            for path in list(partial.iterdir()):
                if path.name != LOCK_NAME:
                    shutil.rmtree(path) if path.is_dir() else path.unlink()
            print(f"tracing the model and writing the SavedModel to {partial} ...", flush=True)
            _write(predictor, config, partial)
            print("verifying the SavedModel against the in-memory model ...", flush=True)
            _verify(predictor, partial)
            (partial / LOCK_NAME).unlink()
            shutil.rmtree(output_dir, ignore_errors=True)
            partial.rename(output_dir)
    except (OSError, tf.errors.OpError) as error:
        reason = str(getattr(error, "strerror", None) or error).splitlines()[0]
        raise UserError(f"output_dir {output_dir} cannot be written: {reason}") from None


def _write(predictor: PanopticPredictor, config: experiment_pb2.ExperimentOptions, folder: pathlib.Path) -> None:
    signatures = {"serving_default": predictor.__call__, "clusters": predictor.clusters}
    tf.saved_model.save(predictor, literal_path(str(folder)), signatures=signatures)
    (folder / "config.textproto").write_text(config_to_text(config), encoding="utf-8")
    (folder / DESCRIPTION_FILE).write_text(descriptions.to_text(dataset_info(config)), encoding="utf-8")


def _verify(predictor: PanopticPredictor, folder: pathlib.Path) -> None:
    exported = tf.saved_model.load(literal_path(str(folder))).signatures["serving_default"]
    image = tf.constant(np.random.default_rng(0).integers(0, 256, (97, 141, 3), np.uint8))
    ours, theirs = predictor(image), exported(input_tensor=image)
    for name in ("panoptic_pred", "semantic_pred"):
        agreement = float(np.mean(ours[name].numpy() == theirs[name].numpy()))
        if agreement < _LEAST_AGREEMENT:
            raise UserError(f"{folder}: {name} of the exported and the in-memory model agree on only {agreement:.2%} of pixels")


def main() -> None:
    config = load_config(flags.FLAGS.config_file, flags.FLAGS.override)
    print(f"building the model and loading {flags.FLAGS.checkpoint} ...", flush=True)
    predictor = load_predictor(config, flags.FLAGS.checkpoint, compiled=False)
    output_dir = pathlib.Path(flags.FLAGS.output_dir).resolve()
    export(predictor, config, output_dir)
    size = sum(f.stat().st_size for f in output_dir.rglob("*") if f.is_file())
    print(f"SavedModel of {size / 1e6:.0f} MB in {output_dir}, verified against the in-memory model")


def run() -> None:
    """Runs the command with the flags of the command line."""
    define_config_flags()
    define_path("checkpoint", "Checkpoint prefix, or a directory whose latest checkpoint is used.", required=True)
    define_path("output_dir", "Folder to write; an export in it is replaced.", required=True)
    flags.DEFINE_enum("format", "saved_model", ["saved_model"], "Format of the exported model.")
    run_command(main)


if __name__ == "__main__":
    run()
