"""Exports a trained model as a SavedModel that runs with TensorFlow alone.

python trainer/export.py --config_file=F --checkpoint=DIR_OR_PREFIX --output_dir=D

Its signature `serving_default` takes `input_tensor`, an RGB image uint8 [H,W,3] of any size, and gives panoptic_pred,
semantic_pred, instance_pred, instance_scores and semantic_scores, each [1,H,W]; `clusters` gives the k-means assignment
of each decoder. The config and the description of the classes lie beside it.
"""

import os
import pathlib
import shutil
import sys

if __name__ == "__main__":
    sys.path[0] = str(pathlib.Path(__file__).parents[1])  # works in a clone that is not installed, too
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # errors of TensorFlow arrive as exceptions

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

# Share of pixels on which the exported maps must agree with those in process.
_LEAST_AGREEMENT = 0.999


def export(predictor: PanopticPredictor, config: experiment_pb2.ExperimentOptions, output_dir: pathlib.Path) -> None:
    """Writes the SavedModel, loads it again, compares its output on a test image, and moves it into place.

    Raises:
      UserError: output_dir cannot be written or holds something else, or the exported model does not predict what the one in
        process does.
    """
    if output_dir.exists() and any(output_dir.iterdir()) and not is_exported(output_dir):
        raise UserError(f"output_dir {output_dir} holds files, but no SavedModel of this command: choose another one")
    partial = output_dir.with_name(output_dir.name + ".partial")
    try:
        with own_folder(partial):
            _clear(partial)
            _write(predictor, config, partial)
            _check(predictor, partial)
            (partial / LOCK_NAME).unlink()
            shutil.rmtree(output_dir, ignore_errors=True)
            partial.rename(output_dir)
    except (OSError, tf.errors.OpError) as error:
        reason = str(getattr(error, "strerror", None) or error).splitlines()[0]
        raise UserError(f"output_dir {output_dir} cannot be written: {reason}") from None


def _clear(partial: pathlib.Path) -> None:
    """Removes what an export that was interrupted has left."""
    for path in partial.iterdir():
        if path.name != LOCK_NAME:
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def _write(predictor: PanopticPredictor, config: experiment_pb2.ExperimentOptions, folder: pathlib.Path) -> None:
    signatures = {"serving_default": predictor.__call__, "clusters": predictor.clusters}
    tf.saved_model.save(predictor, literal_path(str(folder)), signatures=signatures)
    (folder / "config.textproto").write_text(config_to_text(config), encoding="utf-8")
    (folder / DESCRIPTION_FILE).write_text(descriptions.to_text(dataset_info(config)), encoding="utf-8")


def _check(predictor: PanopticPredictor, saved: pathlib.Path) -> None:
    exported = tf.saved_model.load(literal_path(str(saved))).signatures["serving_default"]
    image = np.random.default_rng(0).integers(0, 256, (97, 141, 3), np.uint8)
    ours, theirs = predictor(tf.constant(image)), exported(input_tensor=tf.constant(image))
    for name in ("panoptic_pred", "semantic_pred"):
        agreement = float(np.mean(ours[name].numpy() == theirs[name].numpy()))
        if agreement < _LEAST_AGREEMENT:
            raise UserError(f"{saved}: {name} of the exported model equals that in process on {agreement:.2%} of the pixels")


def main() -> None:
    config = load_config(flags.FLAGS.config_file, flags.FLAGS.override)
    predictor = load_predictor(config, flags.FLAGS.checkpoint)
    output_dir = pathlib.Path(flags.FLAGS.output_dir).resolve()
    export(predictor, config, output_dir)
    size = sum(f.stat().st_size for f in output_dir.rglob("*") if f.is_file())
    print(f"SavedModel of {size / 1e6:.0f} MB in {output_dir}, verified against the in-memory model")


def run() -> None:
    """Runs the command with the flags of the command line."""
    define_config_flags()
    define_path("checkpoint", "Checkpoint prefix, or a directory whose latest one is taken.", required=True)
    define_path("output_dir", "Folder to write; replaced if it exists.", required=True)
    flags.DEFINE_enum("format", "saved_model", ["saved_model"], "What to write.")
    run_command(main)


if __name__ == "__main__":
    run()
