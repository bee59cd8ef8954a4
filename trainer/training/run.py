"""One invocation of trainer/train.py: its loops, its checkpoints, and when it evaluates."""

import pathlib

import orbit
import tensorflow as tf
from absl import logging

from kmax_tf import CheckpointError
from trainer.evaluation.eval_loop import EvalLoop
from trainer.monitoring.curves import draw_curves
from trainer.monitoring.profiling import StepProfile
from trainer.training.best_checkpoint import BEST, keep_best
from trainer.training.checkpoints import RunCheckpoints
from trainer.training.distribution import from_chief, is_chief
from trainer.training.experiment import Experiment
from trainer.training.initial_weights import load_initial_weights, load_weights_to_evaluate
from trainer.training.stopping import Stop, StopRequested, stop_on_signals
from trainer.training.train_loop import TrainLoop


class Run:
    """One invocation: an experiment, its folder, and the controller that alternates training and evaluation."""

    def __init__(self, experiment: Experiment, mode: str, model_dir: pathlib.Path, profile: StepProfile | None = None):
        self.config = experiment.config
        self.experiment = experiment
        self.model_dir = model_dir
        self.stop = Stop()
        self._profile = profile
        options = self.config.trainer_options
        trains, evaluates = mode in ("train", "train_and_eval"), mode != "train"
        self._is_chief = is_chief(experiment.strategy)
        self._keeps = trains and self._is_chief
        initialize = load_weights_to_evaluate if mode == "eval" else load_initial_weights
        self.evaluation = EvalLoop(experiment, model_dir, self.stop) if evaluates else None
        self.controller = orbit.Controller(
            global_step=experiment.global_step,
            trainer=TrainLoop(experiment, model_dir, self.stop, profile) if trains else None,
            evaluator=self.evaluation,
            strategy=experiment.strategy,
            # Loops end at multiples of their length, where summaries are due, wherever they begin.
            steps_per_loop=lambda step: options.steps_per_loop - int(step) % options.steps_per_loop,
            checkpoint_manager=RunCheckpoints(experiment, model_dir, lambda: initialize(experiment)),
            summary_interval=-(-options.save_summaries_steps // options.steps_per_loop) * options.steps_per_loop,
            summary_dir=str(model_dir / "train") if self._is_chief else None,
            eval_summary_dir=str(model_dir / "eval") if self._is_chief else None,
        )

    def train(self) -> int:
        """Trains to the last step, with an evaluation at every multiple of eval_interval and at the end; returns the exit code.

        A signal ends it after the step in progress, which is saved; the exit code is then not 0. The file `finished` in the
        folder says that the last step was reached, and which it was.
        """
        if self._is_chief:
            (self.model_dir / "finished").unlink(missing_ok=True)
        total = self.config.trainer_options.solver_options.training_number_of_steps
        interval = self.config.evaluator_options.eval_interval if self.evaluation else total
        with stop_on_signals(self.stop):
            try:
                step = int(self.experiment.global_step.numpy())
                if self.evaluation and step and (step >= total or step % interval == 0):
                    is_evaluated = any(metrics["step"] == step for metrics in self.evaluation.history())
                    if not from_chief(self.experiment.strategy, is_evaluated):
                        self.evaluate()
                while step < total:
                    step = min(total, (step // interval + 1) * interval)
                    # Saved before it is evaluated: nothing is lost if the evaluation fails.
                    self.controller.train(step, checkpoint_at_completion=True)
                    if self.evaluation:
                        self.evaluate()
            except StopRequested:
                self.controller.save_checkpoint()
                print(f"stopped at step {self.experiment.global_step.numpy()}; the same command continues", flush=True)
                return self.stop.exit_code
            finally:
                if self._profile:
                    self._profile.stop()
        if self._is_chief:
            (self.model_dir / "finished").write_text(f"{step}\n")
        print(f"trained to step {step} of {total}", flush=True)
        return 0

    def evaluate(self) -> None:
        """Evaluates the weights as they are; in a training run, keeps the best checkpoint and draws the curves."""
        self.controller.evaluate(self.config.evaluator_options.eval_steps)
        if not self._keeps:
            return
        self.controller.checkpoint_manager.sync()
        history, step = self.evaluation.history(), int(self.experiment.global_step.numpy())
        pq = next((entry["pq"] for entry in history if entry["step"] == step), None)
        if self.config.trainer_options.keep_best and keep_best(self.model_dir, step, pq):
            print(f"the best PQ so far, {pq:.1f}: kept in {self.model_dir / BEST}", flush=True)
        draw_curves(self.model_dir / "train", history)

    def evaluate_continuously(self) -> None:
        """Evaluates each new checkpoint until the last step, or until none has come for continuous_eval_timeout seconds."""
        timeout = self.config.evaluator_options.continuous_eval_timeout
        total = self.config.trainer_options.solver_options.training_number_of_steps
        manager = self.controller.checkpoint_manager
        for found in tf.train.checkpoints_iterator(manager.directory, timeout=timeout if timeout >= 0 else None):
            path = str(self.model_dir / pathlib.PurePath(found).name)
            try:
                manager.restore(path)
            except CheckpointError as error:
                if not error.damaged and tf.io.gfile.exists(f"{path}.index"):
                    raise
                # The trainer deletes old checkpoints while others are evaluated.
                logging.warning("%s. Waiting for the next one", error)
                continue
            self.evaluate()
            if self.experiment.global_step.numpy() >= total:
                break
