"""Checkpoints of a run on disk: saving, resuming, and falling back when the newest one is damaged."""

import pathlib
from collections.abc import Callable

import tensorflow as tf
from absl import logging

from kmax_tf import CheckpointError, load_checkpoint
from kmax_tf.checkpoint import first_line
from protos import trainer_pb2
from protos.descriptions import ConfigError
from trainer.experiment import Experiment


class RunCheckpoints(tf.train.CheckpointManager):
    """The checkpoints of one model_dir, newest last."""

    def __init__(self, experiment: Experiment, model_dir: pathlib.Path, initialize: Callable[[], None]):
        """`initialize` runs where there is nothing to resume."""
        options: trainer_pb2.TrainerOptions = experiment.config.trainer_options
        super().__init__(
            experiment.checkpoint(),
            str(model_dir),
            max_to_keep=options.num_checkpoints_to_keep,
            checkpoint_name="ckpt",
            step_counter=experiment.global_step,
            checkpoint_interval=options.save_checkpoints_steps,
        )
        self._experiment = experiment
        self._initialize = initialize

    def restore_or_initialize(self) -> str | None:
        """Restores the newest readable checkpoint and returns its path; without any checkpoint, initialises the model.

        Raises:
          CheckpointError: there are checkpoints, but they belong to another model or none is readable.
        """
        damaged = []
        for path in self.saved():
            try:
                self.restore(path)
            except CheckpointError as error:
                if not error.damaged:
                    raise CheckpointError(
                        f"{error}\n  Or choose another --model_dir: this one belongs to that model."
                    ) from None
                logging.warning("%s. Falling back to the checkpoint before it", error)
                damaged.append(path)
                continue
            self._last_checkpoint_step = int(self._experiment.global_step.numpy())
            return path
        if damaged:
            raise CheckpointError(f"none of the checkpoints is readable: {', '.join(damaged)}; move them away to start again")
        self._initialize()
        self._last_checkpoint_step = 0
        return None

    def saved(self) -> list[str]:
        """All checkpoints in the folder, newest first; from the files themselves, as TensorFlow's list of them can be lost."""
        found = {}
        for index in tf.io.gfile.glob(f"{self.directory}/ckpt-*.index"):
            prefix = index.removesuffix(".index")
            if (step := prefix.rsplit("-", 1)[1]).isdecimal():
                found[int(step)] = prefix
        return [found[step] for step in sorted(found, reverse=True)]

    def restore(self, path: str) -> None:
        """Restores model, optimizers and step from one checkpoint.

        Raises:
          CheckpointError: it is damaged, or of another model or optimizer.
        """
        load_checkpoint(self._experiment.model, path)
        try:
            self.checkpoint.restore(path).assert_existing_objects_matched().expect_partial()
        except tf.errors.OpError as error:
            raise CheckpointError(f"{path}: the checkpoint is damaged: {first_line(error)}", damaged=True) from None
        except (ValueError, AssertionError):
            raise CheckpointError(
                f"{path}: the optimizer state does not fit: solver_options.optimizer has changed since; set it back"
            ) from None


def prepare_model_dir(path: pathlib.Path) -> None:
    """Creates the folder and checks that it can be written.

    Raises:
      ConfigError: it cannot.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        probe = path / ".write_test"
        probe.write_text("")
        probe.unlink()
    except OSError as error:
        raise ConfigError(
            f"model_dir {path} cannot be written: {error.strerror or error}; choose another --model_dir"
        ) from None
