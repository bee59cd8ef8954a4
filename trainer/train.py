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

import tensorflow as tf
from absl import flags

from kmax_tf import ConfigError, load_config
from kmax_tf.cli.command import run_command
from kmax_tf.cli.command_flags import define_config_flags, define_path
from kmax_tf.files.atomic import write_text
from kmax_tf.files.lock import own_folder
from protos import experiment_pb2
from protos.config import config_to_text
from protos.errors import UserError
from trainer.monitoring.profiling import StepProfile, parse_steps
from trainer.monitoring.progress import silence_orbit_reports
from trainer.monitoring.training_log import describe_run
from trainer.training.checkpoints import (
    prepare_model_dir,
    remove_unfinished_checkpoints,
    saved_checkpoints,
)
from trainer.training.distribution import LOST_HOST, from_chief, is_chief, lost_host, make_strategy, spans_hosts, sum_over_hosts
from trainer.training.experiment import build_experiment
from trainer.training.resuming import check_resumed_config
from trainer.training.run import Run
from trainer.training.start_checks import check_data, check_mode, check_weights

MODES = ["train_and_eval", "train", "eval", "continuous_eval"]


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
            if trains:  # Evaluation draws nothing, and may run beside a training run that owns the folder.
                stack.enter_context(own_folder(model_dir))
                remove_unfinished_checkpoints(model_dir)
                if saved := saved_checkpoints(model_dir):
                    check_resumed_config(config, model_dir, saved[0])
                seed = run_seed(config, model_dir)
        else:
            print("the chief prints the progress of the run", flush=True)
            stack.enter_context(contextlib.redirect_stdout(io.StringIO()))
        profile = StepProfile(*profile_steps, model_dir) if profile_steps and is_chief(strategy) else None
        try:
            experiment = build_experiment(config, strategy, from_chief(strategy, seed))
            print(f"{config.experiment_name}: {mode} in {model_dir} on {strategy.num_replicas_in_sync} device(s)", flush=True)
            run = Run(experiment, mode, model_dir, profile)
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
