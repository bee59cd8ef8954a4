"""Trains and evaluates the model of a config; the same command continues a run that was interrupted.

python trainer/train.py --config_file=configs/coco/kmax_r50.textproto --mode=train_and_eval

With --print_config it prints the complete config instead.
"""

import contextlib
import io
import os
import pathlib
import secrets
import sys

if __name__ == "__main__":
    sys.path[0] = str(pathlib.Path(__file__).parents[1])  # works in a clone that is not installed, too
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # errors of TensorFlow arrive as exceptions

import orbit
import tensorflow as tf
from absl import flags, logging

from kmax_tf import CheckpointError, ConfigError, load_config
from kmax_tf.cli.command import run_command
from kmax_tf.cli.command_flags import define_config_flags, define_path
from kmax_tf.files.atomic import write_text
from kmax_tf.files.lock import own_folder
from protos import experiment_pb2
from protos.config import config_to_text
from protos.errors import UserError
from trainer.evaluation.eval_loop import EvalLoop
from trainer.monitoring.curves import draw_curves
from trainer.monitoring.profiling import StepProfile, parse_steps
from trainer.monitoring.progress import silence_orbit_reports
from trainer.monitoring.training_log import describe_run
from trainer.training.best_checkpoint import BEST, keep_best
from trainer.training.checkpoints import (
    RunCheckpoints,
    prepare_model_dir,
    remove_unfinished_checkpoints,
    saved_checkpoints,
)
from trainer.training.distribution import LOST_HOST, from_chief, is_chief, lost_host, make_strategy, spans_hosts, sum_over_hosts
from trainer.training.experiment import Experiment, build_experiment
from trainer.training.initial_weights import load_initial_weights, load_weights_to_evaluate
from trainer.training.resuming import check_resumed_config
from trainer.training.start_checks import check_data, check_mode, check_weights
from trainer.training.stopping import Stop, StopRequested, stop_on_signals
from trainer.training.train_loop import TrainLoop

MODES = ["train_and_eval", "train", "eval", "continuous_eval"]


class Run:
    """One invocation: an experiment, its folder, and the controller that alternates training and evaluation."""

    def __init__(
        self,
        config: experiment_pb2.ExperimentOptions,
        mode: str,
        model_dir: pathlib.Path,
        experiment: Experiment,
        profile: StepProfile | None,
    ):
        self.config = config
        self.experiment = experiment
        self.model_dir = model_dir
        self.stop = Stop()
        options = config.trainer_options
        trains, evaluates = mode in ("train", "train_and_eval"), mode != "train"
        self._is_chief = is_chief(experiment.strategy)
        self._keeps = trains and self._is_chief
        self.evaluation = EvalLoop(experiment, model_dir, self.stop) if evaluates else None
        self.controller = orbit.Controller(
            global_step=experiment.global_step,
            trainer=TrainLoop(experiment, model_dir, self.stop, profile) if trains else None,
            evaluator=self.evaluation,
            strategy=experiment.strategy,
            # Loops end at multiples of their length, where summaries are due, wherever they begin.
            steps_per_loop=lambda step: options.steps_per_loop - int(step) % options.steps_per_loop,
            checkpoint_manager=RunCheckpoints(experiment, model_dir, lambda: self._initialize(mode)),
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
                if self.evaluation and step and (step >= total or step % interval == 0) and not self._is_evaluated(step):
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
        if self._is_chief:
            (self.model_dir / "finished").write_text(f"{step}\n")
        print(f"trained to step {step} of {total}", flush=True)
        return 0

    def _is_evaluated(self, step: int) -> bool:
        return from_chief(self.experiment.strategy, self.evaluation.is_done(step)) > 0

    def evaluate(self) -> None:
        """Evaluates the weights as they are; in a training, keeps the best checkpoint and draws the curves."""
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

    def _initialize(self, mode: str) -> None:
        if mode != "eval":
            load_initial_weights(self.experiment)
        else:
            load_weights_to_evaluate(self.experiment)


def run_seed(config: experiment_pb2.ExperimentOptions, model_dir: pathlib.Path) -> int:
    """The seed of the config, or one drawn once for this model_dir.

    Raises:
      ConfigError: the file with the seed is damaged.
    """
    if config.trainer_options.HasField("seed"):
        return config.trainer_options.seed
    kept = model_dir / "seed"
    if not kept.exists():
        write_text(kept, f"{secrets.randbelow(2**31)}\n")
    try:
        seed = int(kept.read_text())
    except ValueError:
        raise ConfigError(
            f"{kept} does not hold the seed of the run: set trainer_options.seed, or delete this file to go on with another one"
        ) from None
    print(f"trainer_options.seed is not set: using {seed}, kept in {kept}", flush=True)
    return seed


def run_experiment(
    config: experiment_pb2.ExperimentOptions,
    mode: str,
    model_dir: pathlib.Path,
    strategy: tf.distribute.Strategy,
    profile_steps: tuple[int, int] | None = None,
) -> int:
    """Carries out one of MODES in `model_dir`, going on from the newest checkpoint there; returns the exit code.

    `profile_steps`: the first and the last training step to profile, if any.

    Raises:
      UserError: config, data, checkpoint or folder cannot be used, or another process trains there; the message says what to
        change.
    """
    trains = mode in ("train", "train_and_eval")
    check_mode(config, mode)
    check_data(config, mode)
    if not saved_checkpoints(model_dir):
        check_weights(config, mode, model_dir)
    if mode == "continuous_eval" and spans_hosts(strategy):
        raise ConfigError("continuous_eval runs on one host: start it without TF_CONFIG, beside the training")
    with contextlib.ExitStack() as stack:
        seed = 0
        if is_chief(strategy):
            prepare_model_dir(model_dir)
            if trains:  # Evaluation draws nothing, and may run beside a training that owns the folder.
                stack.enter_context(own_folder(model_dir))
                remove_unfinished_checkpoints(model_dir)
                if saved := saved_checkpoints(model_dir):
                    check_resumed_config(config, model_dir, saved[0])
                seed = run_seed(config, model_dir)
        else:
            print("the chief prints how the run gets on", flush=True)
            stack.enter_context(contextlib.redirect_stdout(io.StringIO()))
        profile = StepProfile(*profile_steps, model_dir) if profile_steps and is_chief(strategy) else None
        return _run(config, mode, model_dir, strategy, seed, profile)


def _run(
    config: experiment_pb2.ExperimentOptions,
    mode: str,
    model_dir: pathlib.Path,
    strategy: tf.distribute.Strategy,
    seed: int,
    profile: StepProfile | None,
) -> int:
    trains = mode in ("train", "train_and_eval")
    try:
        experiment = build_experiment(config, strategy, from_chief(strategy, seed))
        print(f"{config.experiment_name}: {mode} in {model_dir} on {strategy.num_replicas_in_sync} device(s)", flush=True)
        run = Run(config, mode, model_dir, experiment, profile)
        if trains and is_chief(strategy):
            write_text(model_dir / "config.textproto", config_to_text(config))
            describe_run(config, model_dir, int(experiment.global_step.numpy()))
        code = 0
        if trains:
            code = run.train()
        elif mode == "eval":
            run.evaluate()
        else:
            run.evaluate_continuously()
        # A host that ends early looks like a lost one.
        sum_over_hosts(strategy, 0)
        return code
    except LOST_HOST as error:
        if not spans_hosts(strategy):
            raise
        saved = saved_checkpoints(model_dir)
        kept = f"{saved[0]} holds the state of the run" if saved else "The run has not saved anything"
        raise UserError(f"{lost_host(error)}. {kept}; the same command on all hosts continues") from None


def main() -> int:
    values = flags.FLAGS
    config = load_config(values.config_file, values.override)
    if values.print_config:
        print(config_to_text(config), end="")
        return 0
    model_dir = pathlib.Path(values.model_dir or pathlib.Path("runs") / config.experiment_name).absolute()
    silence_orbit_reports()
    profile_steps = parse_steps(values.profile_steps) if values.profile_steps else None
    return run_experiment(config, values.mode, model_dir, make_strategy(values.master, values.num_gpus), profile_steps)


def run() -> None:
    """Runs the command with the flags of the command line."""
    define_config_flags()
    flags.DEFINE_enum("mode", "train_and_eval", MODES, "What to do.")
    define_path("model_dir", "Checkpoints, metrics and summaries; default runs/<experiment_name>.")
    flags.DEFINE_string("master", "", "Name or address of a TPU, or local on a TPU host.")
    flags.DEFINE_integer("num_gpus", 0, "GPUs to use; 0: the CPU.")
    flags.DEFINE_string("profile_steps", None, "First and last training step to profile for TensorBoard: A,B.")
    flags.DEFINE_bool("print_config", False, "Print the config with base, overrides and defaults filled in; do nothing else.")
    run_command(main)


if __name__ == "__main__":
    run()
