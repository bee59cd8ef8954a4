"""Checkpoints of a run on disk: saving, resuming, and falling back when the newest one is damaged."""

import pathlib
import re
import shutil
import tempfile
from collections.abc import Callable

import tensorflow as tf
from absl import logging

from kmax_tf import CheckpointError
from kmax_tf.checkpoints.loading import check_checkpoint
from kmax_tf.checkpoints.origin import ATTRIBUTE
from kmax_tf.checkpoints.tensorflow_files import AVERAGES, open_checkpoint
from kmax_tf.files.tensorflow_paths import literal_path
from protos import trainer_pb2
from protos.descriptions import ConfigError
from protos.errors import first_line
from trainer.training.distribution import from_chief, is_chief, sum_over_hosts
from trainer.training.experiment import Experiment

_INDEX = re.compile(r"(ckpt-(\d+))\.index")
_UNFINISHED = re.compile(r"ckpt-\d+_temp")


class RunCheckpoints(tf.train.CheckpointManager):
    """The checkpoints of one model_dir, newest last. All hosts restore them; the chief writes them."""

    def __init__(self, experiment: Experiment, model_dir: pathlib.Path, initialize: Callable[[], None]):
        """`initialize` runs where there is nothing to resume."""
        options: trainer_pb2.TrainerOptions = experiment.config.trainer_options
        # Saving adds up variables over hosts, so that all take part; what the others write is deleted.
        self._scratch = None if is_chief(experiment.strategy) else tempfile.TemporaryDirectory(prefix="kmax_checkpoints_")
        _remove_damaged_list(model_dir)
        super().__init__(
            experiment.checkpoint(),
            literal_path(self._scratch.name if self._scratch else str(model_dir)),
            max_to_keep=options.num_checkpoints_to_keep,
            checkpoint_name="ckpt",
            step_counter=experiment.global_step,
            checkpoint_interval=options.save_checkpoints_steps,
        )
        # Otherwise each host of a TPU writes to its own disk.
        on_tpu = isinstance(experiment.strategy, tf.distribute.TPUStrategy)
        device = "/job:localhost" if on_tpu else None
        self._options = tf.train.CheckpointOptions(experimental_io_device=device)
        self._save_options = tf.train.CheckpointOptions(
            experimental_io_device=device, enable_async=options.background_checkpoints
        )
        self._unfinished: str | None = None
        self._experiment = experiment
        self._model_dir = model_dir
        self._initialize = initialize

    def save(self, *args, **kwargs) -> str | None:
        """Saves as tf.train.CheckpointManager does; the path is one in model_dir."""
        path = super().save(*args, **kwargs | {"options": self._save_options})
        if path and self._save_options.experimental_enable_async_checkpoint:
            self._unfinished = path
        if path and self._scratch:
            for file in pathlib.Path(self._scratch.name).glob(f"{pathlib.PurePath(path).name}.*"):
                file.unlink()
        return path and str(self._model_dir / pathlib.PurePath(path).name)

    def sync(self) -> None:
        """Waits until the checkpoint that a thread is writing is complete.

        Raises:
          CheckpointError: it could not be written.
        """
        super().sync()
        path, self._unfinished = self._unfinished, None
        if path:
            try:
                # TensorFlow reports the error of its thread with the next checkpoint only, or when Python ends.
                self.checkpoint._async_checkpointer()._check_async_thread_error()
            except tf.errors.OpError as error:
                raise CheckpointError(f"{path} could not be written: {first_line(error)}") from None

    def restore_or_initialize(self) -> str | None:
        """Restores the newest readable checkpoint and returns its path; without any checkpoint, initializes the model.

        Raises:
          CheckpointError: there are checkpoints, but they belong to another model or none is readable.
          ConfigError: other hosts found another checkpoint.
        """
        path = self._restore_or_initialize()
        strategy, step = self._experiment.strategy, self._last_checkpoint_step
        if sum_over_hosts(strategy, from_chief(strategy, step) != step):
            raise ConfigError(
                f"this host goes on from step {step} in {self._model_dir}, others from another one: all of them need the same "
                "--model_dir, a folder that they share"
            )
        return path

    def _restore_or_initialize(self) -> str | None:
        damaged = []
        for path in saved_checkpoints(self._model_dir):
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
        if self._experiment.averages:
            self._experiment.averages.reset()
        self._last_checkpoint_step = 0
        return None

    def restore(self, path: str) -> None:
        """Restores model, optimizers and step from one checkpoint.

        Raises:
          CheckpointError: it is damaged, or of another model or optimizer.
        """
        check_checkpoint(self._experiment.model, path)
        experiment = self._experiment
        parts = {key.partition("/")[0] for key in open_checkpoint(path).get_variable_to_shape_map()}
        has_origin, has_averages = ATTRIBUTE in parts, AVERAGES in parts
        checkpoint = self.checkpoint
        if not has_origin or experiment.averages and not has_averages:
            checkpoint = experiment.checkpoint(with_origin=has_origin, with_averages=has_averages)
        try:
            status = checkpoint.restore(literal_path(path), self._options)
            # Otherwise TensorFlow warns of each variable of another optimizer.
            status.expect_partial()
            status.assert_existing_objects_matched()
        except tf.errors.OpError as error:
            raise CheckpointError(f"{path}: the checkpoint is damaged: {first_line(error)}", damaged=True) from None
        except (ValueError, AssertionError):
            raise CheckpointError(
                f"{path}: the optimizer state does not fit: solver_options.optimizer has changed since; set it back"
            ) from None
        if experiment.averages and not has_averages:
            experiment.averages.reset()
            print(f"{path} has no averages of the weights (ema_decay): they start from its weights", flush=True)


def saved_checkpoints(model_dir: pathlib.Path) -> list[str]:
    """Prefixes of all checkpoints in a folder, newest first; from the files themselves, as TensorFlow's list can be lost."""
    paths = model_dir.iterdir() if model_dir.is_dir() else ()
    found = [match for path in paths if (match := _INDEX.fullmatch(path.name))]
    return [str(model_dir / match[1]) for match in sorted(found, key=lambda match: int(match[2]), reverse=True)]


def _remove_damaged_list(model_dir: pathlib.Path) -> None:
    """Removes TensorFlow's list of checkpoints if it is damaged: TensorFlow would not write another one."""
    try:
        tf.train.get_checkpoint_state(str(model_dir))
    except ValueError as error:
        logging.warning("%s: removed, because it is damaged (%s)", model_dir / "checkpoint", error)
        (model_dir / "checkpoint").unlink(missing_ok=True)


def remove_unfinished_checkpoints(model_dir: pathlib.Path) -> None:
    """Removes what a process that was killed while saving has left. Only the owner of the folder may call it."""
    for path in list(model_dir.iterdir()):
        if _UNFINISHED.fullmatch(path.name) and path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
            print(f"removed {path}, the rest of a checkpoint that was not finished", flush=True)


def prepare_model_dir(path: pathlib.Path) -> None:
    """Creates the folder and checks that it can be written.

    Raises:
      ConfigError: it cannot.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=path).close()
    except OSError as error:
        raise ConfigError(
            f"model_dir {path} cannot be written: {error.strerror or error}; choose another --model_dir"
        ) from None
