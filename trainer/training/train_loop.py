"""The inner training loop that Orbit's controller calls."""

import contextlib
import math
import pathlib
import threading
import time

import numpy as np
import orbit
import tensorflow as tf

from data.input.data_service import ServiceTimeout
from data.input.pipeline import input_problems, training_dataset
from data.records.input_problems import REPORT, InputProblems
from protos.errors import UserError
from trainer.monitoring.constant_terms import ConstantTerms
from trainer.monitoring.forecast import report_needs
from trainer.monitoring.profiling import StepProfile
from trainer.monitoring.progress import Stopwatch, progress_line
from trainer.monitoring.training_log import TrainingLog, memory_in_use
from trainer.training.distribution import is_chief, sum_over_hosts
from trainer.training.experiment import Experiment
from trainer.training.graph_optimizers import graphs_run_as_traced
from trainer.training.stopping import StopRequested
from trainer.training.train_step import GRADIENT_NORM, Terms, make_device_loop, make_train_step, runs_on_device

# Consecutive steps without an update after which a run ends (skip_nonfinite_steps).
_MOST_SKIPPED_IN_A_ROW = 20
# Each loss term in every step of a loop.
History = dict[str, np.ndarray]


@tf.autograph.experimental.do_not_convert
def _without_strings(batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    return {k: v for k, v in batch.items() if v.dtype != tf.string}


class NonFiniteLossError(UserError):
    """Training diverged; the message names step, loss terms and images."""


class TrainLoop(orbit.AbstractTrainer):
    """Runs steps, checks their losses, prints progress and writes summaries."""

    def __init__(
        self, experiment: Experiment, model_dir: pathlib.Path, stop: threading.Event, profile: StepProfile | None = None
    ):
        """`stop`: when it is set, the loop raises StopRequested after the step in progress, or after the loop on the device."""
        self._experiment = experiment
        self._model_dir = model_dir
        self._stop = stop
        self._compiled = False
        self._profile = profile
        self._log: TrainingLog | None = None
        self._skipped_steps = self._skipped_in_a_row = 0
        self._constant_terms = ConstantTerms()
        self._on_device = runs_on_device(experiment)
        self._run = make_device_loop(experiment) if self._on_device else make_train_step(experiment)
        self._iterator = None
        options = experiment.config.train_dataset_options
        self._problems = input_problems(options)
        self._timeout = ServiceTimeout(options.data_service)

    def train(self, num_steps: tf.Tensor) -> None:
        """Runs `num_steps` steps from the current global step.

        Raises:
          NonFiniteLossError: a loss was NaN or infinite. Nothing has been saved since.
          StopRequested: see `stop`.
          DataError: an example cannot be used, or the data service has ended.
        """
        if self._iterator is None:
            self._iterator = iter(self._dataset(int(self._experiment.global_step.numpy()), self._problems))
            if is_chief(self._experiment.strategy):
                self._log = TrainingLog(self._model_dir, int(self._experiment.global_step.numpy()))
            print("compiling the first step ...", flush=True)
            with graphs_run_as_traced(self._experiment.strategy):
                self._report_needs(num_steps)
        watch, is_timed = Stopwatch(), self._compiled or not self._on_device
        with graphs_run_as_traced(self._experiment.strategy):
            history, reports = self._loop_on_device(num_steps) if self._on_device else self._step_by_step(int(num_steps), watch)
        for report in reports:
            self._problems.add_report(report)
        finite = self._check(history)
        self._constant_terms.add(int(self._experiment.global_step.numpy()), history)
        # The first step of this process is left out: most of its time is compiling.
        steps = len(history["total_loss"]) - (not self._compiled)
        self._compiled = True
        if finite.any():
            means = {k: float(v[finite].mean()) for k, v in history.items()}
            self._report(means, steps / watch.elapsed if is_timed else 0.0, watch.input_share)
        if self._must_stop():
            raise StopRequested

    def _report_needs(self, num_steps: tf.Tensor) -> None:
        if self._on_device:
            traced = self._run.get_concrete_function(self._iterator, num_steps)
        else:
            batch = {name: spec for name, spec in self._iterator.element_spec.items() if name != REPORT}
            traced = self._run.get_concrete_function(batch)
        report_needs(traced, self._experiment, self._model_dir)

    def _loop_on_device(self, num_steps: tf.Tensor) -> tuple[History, np.ndarray]:
        first = int(self._experiment.global_step.numpy())
        with self._problems.explained(first), self._profiled(first + 1, first + int(num_steps)):
            terms, reports = self._run(self._iterator, num_steps)
        return {name: values.numpy() for name, values in terms.items()}, reports.numpy()

    def _step_by_step(self, num_steps: int, watch: Stopwatch) -> tuple[History, list[np.ndarray]]:
        first = int(self._experiment.global_step.numpy())
        history: list[Terms] = []
        reports: list[tf.Tensor] = []
        for step in range(first, first + num_steps):
            before = time.perf_counter()
            with self._problems.explained(step):
                batch = self._timeout.wait_for(lambda: next(self._iterator))
            watch.add_wait(time.perf_counter() - before)
            reports += self._experiment.strategy.experimental_local_results(batch.pop(REPORT))
            with self._profiled(step + 1, step + 1):
                history.append(self._run(batch))
            if len(history) == 1 and not self._compiled:
                watch.restart()
            if self._must_stop():
                break
        terms = {name: np.array([terms[name].numpy() for terms in history]) for name in history[0]}
        return terms, [report.numpy() for report in reports]

    def _profiled(self, first: int, last: int) -> contextlib.AbstractContextManager[None]:
        return self._profile.around(first, last) if self._profile else contextlib.nullcontext()

    def _must_stop(self) -> bool:
        """Whether a signal has reached this host or another one; all hosts stop after the same step."""
        return sum_over_hosts(self._experiment.strategy, self._stop.is_set()) > 0

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
            dataset = dataset.map(_without_strings)
            if replicas > 1:
                dataset = dataset.rebatch(options.batch_size // replicas, drop_remainder=True)
            # Otherwise hosts ask each other in each step whether there is a next batch, and shapes are not static.
            return dataset.apply(tf.data.experimental.assert_cardinality(tf.data.INFINITE_CARDINALITY)).prefetch(2)

        if names:
            return make(tf.distribute.InputContext())
        return experiment.strategy.distribute_datasets_from_function(make)

    def _check(self, history: History) -> np.ndarray:
        """Which steps had a finite loss and finite gradients, [steps]; if the others are not skipped, there must be none."""
        finite = np.isfinite(history["total_loss"] + history[GRADIENT_NORM])
        bad = ~finite
        if self._experiment.config.trainer_options.solver_options.skip_nonfinite_steps:
            bad = self._skipped_too_often(~np.isfinite(history[GRADIENT_NORM]))
        if bad.any():
            first = int(bad.argmax())
            # The dataset counts steps from 0, all that is printed from 1.
            step = int(self._experiment.global_step.numpy()) - len(bad) + first
            culprits = [f"{name} {v[first]}" for name, v in history.items() if not math.isfinite(v[first])]
            options = self._experiment.config.train_dataset_options
            batch = next(iter(self._dataset(step, input_problems(options), names=True)))
            images = ", ".join(name.decode(errors="replace") for name in batch["image_name"].numpy()[:8])
            raise NonFiniteLossError(
                f"step {step + 1}: the loss is not finite ({', '.join(culprits[:6])}). Images of the step: {images}. "
                "Lower base_learning_rate, lengthen warmup_steps or use_gradient_clipping; the last checkpoint is intact."
            )
        return finite

    def _skipped_too_often(self, skipped: np.ndarray) -> np.ndarray:
        """Counts and prints the steps that were skipped; true where the steps before it had been skipped for too long."""
        too_often = np.zeros_like(skipped)
        for i, is_skipped in enumerate(skipped):
            self._skipped_in_a_row = self._skipped_in_a_row + 1 if is_skipped else 0
            too_often[i] = self._skipped_in_a_row >= _MOST_SKIPPED_IN_A_ROW
        self._skipped_steps += int(skipped.sum())
        if skipped.any():
            step = int(self._experiment.global_step.numpy())
            print(f"warning: {skipped.sum()} of the steps up to {step} had gradients that are not finite, and were skipped")
        return too_often

    def _report(self, terms: dict[str, float], steps_per_second: float, input_share: float) -> None:
        experiment = self._experiment
        step = int(experiment.global_step.numpy())
        norm = terms.pop(GRADIENT_NORM)
        rate, encoder_rate = (
            float(tf.convert_to_tensor(o.learning_rate)) for o in (experiment.optimizer, experiment.encoder_optimizer)
        )
        total = experiment.config.trainer_options.solver_options.training_number_of_steps
        problems = self._problems
        line = progress_line(step, total, terms, steps_per_second, input_share, rate)
        print(line + (f"  skipped {problems.skipped_examples}" if problems.skipped_examples else ""), flush=True)
        if self._log:
            others = {
                "learning_rate": rate,
                "encoder_learning_rate": encoder_rate,
                GRADIENT_NORM: norm,
                **({"speed/steps_per_second": steps_per_second} if steps_per_second else {}),
                "input_wait_share": input_share,
                "skipped_steps": self._skipped_steps,
                "input/skipped_examples": problems.skipped_examples,
                "input/dropped_instances": problems.dropped_instances,
            }
            self._log.add(step, terms, others | memory_in_use())
