"""The inner training loop that Orbit's controller calls."""

import math
import threading
import time

import numpy as np
import orbit
import tensorflow as tf

from data.input.data_service import Patience
from data.input.pipeline import REPORT, InputProblems, input_problems, training_dataset
from protos.errors import UserError
from trainer.experiment import Experiment
from trainer.progress import Stopwatch, progress_line
from trainer.stopping import StopRequested
from trainer.train_step import make_train_step


class NonFiniteLossError(UserError):
    """Training diverged; the message names step, loss terms and images."""


class TrainLoop(orbit.AbstractTrainer):
    """Runs steps, checks their losses, prints progress and writes summaries."""

    def __init__(self, experiment: Experiment, stop: threading.Event):
        """`stop`: when it is set, the loop raises StopRequested after the step in progress."""
        self._experiment = experiment
        self._stop = stop
        self._step = make_train_step(experiment)
        self._iterator = None
        options = experiment.config.train_dataset_options
        self._problems = input_problems(options)
        self._patience = Patience(options.data_service)

    def train(self, num_steps: tf.Tensor) -> None:
        """Runs `num_steps` steps from the current global step.

        Raises:
          NonFiniteLossError: a loss was NaN or infinite. Nothing has been saved since.
          StopRequested: see `stop`.
          DataError: an example cannot be used, or the data service has ended.
        """
        if self._iterator is None:
            self._iterator = iter(self._dataset(int(self._experiment.global_step.numpy()), self._problems))
            if not self._experiment.global_step.numpy():
                print("compiling the first step ...", flush=True)
        watch, first = Stopwatch(), int(self._experiment.global_step.numpy())
        history: list[dict[str, tf.Tensor]] = []
        reports: list[tf.Tensor] = []
        for _ in range(int(num_steps)):
            before = time.perf_counter()
            with self._problems.explained(first + len(history)):
                batch = self._patience.wait_for(lambda: next(self._iterator))
            reports.append(batch.pop(REPORT))
            watch.add_wait(time.perf_counter() - before)
            history.append(self._step(batch))
            if self._stop.is_set():
                break
        for report in reports:
            for local in self._experiment.strategy.experimental_local_results(report):
                self._problems.add_report(local.numpy())
        terms = self._check(history)
        self._report(terms, len(history) / watch.elapsed, watch.input_share)
        if self._stop.is_set():
            raise StopRequested

    def _dataset(
        self, start_step: int, problems: InputProblems, names: bool = False
    ) -> tf.data.Dataset | tf.distribute.DistributedDataset:
        experiment = self._experiment
        options = experiment.config.train_dataset_options
        replicas = experiment.strategy.num_replicas_in_sync

        def make(context: tf.distribute.InputContext) -> tf.data.Dataset:
            dataset = training_dataset(
                options,
                experiment.info,
                seed=experiment.seed,
                start_step=start_step,
                batch_size=options.batch_size,
                shard=context.input_pipeline_id,
                num_shards=context.num_input_pipelines,
                problems=problems,
            )
            if names:
                return dataset
            # Devices do not take strings.
            dataset = dataset.map(lambda batch: {k: v for k, v in batch.items() if v.dtype != tf.string})
            if replicas > 1:
                dataset = dataset.rebatch(options.batch_size // replicas, drop_remainder=True)
            return dataset.prefetch(2)

        if names:
            return make(tf.distribute.InputContext())
        return experiment.strategy.distribute_datasets_from_function(make)

    def _check(self, history: list[dict[str, tf.Tensor]]) -> dict[str, float]:
        """Mean of each term over the loop; every step must have been finite."""
        values = {name: np.array([step[name].numpy() for step in history]) for name in history[0]}
        bad = ~np.isfinite(values["total_loss"])
        if bad.any():
            first = int(bad.argmax())
            step = int(self._experiment.global_step.numpy()) - len(history) + first
            culprits = [f"{name} {v[first]}" for name, v in values.items() if not math.isfinite(v[first])]
            options = self._experiment.config.train_dataset_options
            batch = next(iter(self._dataset(step, input_problems(options), names=True)))
            images = ", ".join(name.decode(errors="replace") for name in batch["image_name"].numpy()[:8])
            raise NonFiniteLossError(
                f"step {step}: the loss is not finite ({', '.join(culprits[:6])}). Images of the step: {images}. "
                "Lower base_learning_rate, lengthen warmup_steps or use_gradient_clipping; the last checkpoint is intact."
            )
        return {name: float(v.mean()) for name, v in values.items()}

    def _report(self, terms: dict[str, float], steps_per_second: float, input_share: float) -> None:
        experiment = self._experiment
        step = int(experiment.global_step.numpy())
        rate = float(experiment.optimizer.learning_rate)
        encoder_rate = float(experiment.encoder_optimizer.learning_rate)
        total = experiment.config.trainer_options.solver_options.training_number_of_steps
        problems = self._problems
        line = progress_line(step, total, terms, steps_per_second, input_share, rate)
        print(line + (f"  skipped {problems.skipped_examples}" if problems.skipped_examples else ""), flush=True)
        for name, value in terms.items():
            tf.summary.scalar(f"losses/train_{name}", value, step=step)
        tf.summary.scalar("learning_rate", rate, step=step)
        tf.summary.scalar("encoder_learning_rate", encoder_rate, step=step)
        tf.summary.scalar("input_wait_share", input_share, step=step)
        tf.summary.scalar("input/skipped_examples", problems.skipped_examples, step=step)
        tf.summary.scalar("input/dropped_instances", problems.dropped_instances, step=step)
