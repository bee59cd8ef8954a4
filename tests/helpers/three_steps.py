"""Three training steps and an evaluation, by one process or by one of several hosts (TF_CONFIG).

python three_steps.py CONFIG DEVICES RESULTS.npz

DEVICES logical CPUs of this process take part. The results are loss terms, variables, names of the images and metrics.
"""

import json
import pathlib
import sys
import threading

sys.path[0] = str(pathlib.Path(__file__).resolve().parents[2])  # run from anywhere, without PYTHONPATH

import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402

from kmax_tf import load_config  # noqa: E402
from kmax_tf.checkpoints.variable_names import named_variables  # noqa: E402
from trainer.evaluation.eval_loop import EvalLoop  # noqa: E402
from trainer.training.distribution import make_strategy, spans_hosts  # noqa: E402
from trainer.training.experiment import build_experiment  # noqa: E402
from trainer.training.train_loop import TrainLoop  # noqa: E402

# Nothing random: draws follow from the number of the replica.
OVERRIDES = (
    "train_dataset_options.batch_size=4",
    "model_options.backbone.drop_path_keep_prob=1",
    "model_options.max_deeplab.transformer_decoder_drop_path_keep_prob=1",
    "model_options.max_deeplab.instance_discrimination_sample_k=289",
    "model_options.decoder.use_semantic_decoder=false",
    "trainer_options.solver_options.optimizer=sgd",
    "trainer_options.solver_options.warmup_steps=0",
)


class Loop(TrainLoop):
    """Keeps the loss terms of each step."""

    def _check(self, history):
        self.history = history
        return super()._check(history)


def main(config_file: str, devices: int, path: str) -> None:
    strategy = make_strategy()
    if devices > 1:
        strategy = tf.distribute.MirroredStrategy([f"/cpu:{i}" for i in range(devices)])
    config = load_config(config_file, OVERRIDES)
    config.trainer_options.loop_on_device = spans_hosts(strategy)
    experiment = build_experiment(config, strategy, seed=0)
    initial = [variable.numpy() for variable in experiment.model.variables]
    folder = pathlib.Path(path).with_suffix("")
    folder.mkdir()
    loop = Loop(experiment, folder, threading.Event())
    batches = iter(loop._dataset(0, loop._problems))
    images = np.concatenate([_own(strategy, next(batches)["image"]) for _ in range(3)])
    loop.train(tf.constant(3))
    results = {f"loss/{name}": values for name, values in loop.history.items()}
    results |= {f"variable/{name}": v.numpy() for name, v in named_variables(experiment.model).items()}
    # Sums over devices are rounded, which moves near-ties of the maps: all evaluate the same weights.
    for variable, value in zip(experiment.model.variables, initial):
        variable.assign(value)
    EvalLoop(experiment, folder, threading.Event()).evaluate(tf.constant(-1))
    metrics = folder / "eval" / "metrics.json"
    results["metrics"] = np.array(json.dumps(json.loads(metrics.read_text())) if metrics.exists() else "")
    results["images"], results["spans_hosts"] = images.mean((1, 2, 3)), np.array(spans_hosts(strategy))
    np.savez(path, **results)


def _own(strategy: tf.distribute.Strategy, value: tf.Tensor) -> np.ndarray:
    return np.concatenate([one.numpy() for one in strategy.experimental_local_results(value)])


if __name__ == "__main__":
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * int(sys.argv[2]))
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3])
