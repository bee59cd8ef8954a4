"""One training step and an evaluation on logical CPUs.

python one_step.py CONFIG DEVICES OVERRIDES: prints the loss terms and the norms of the variables as JSON.
"""

import json
import pathlib
import sys
import tempfile
import threading

sys.path[0] = str(pathlib.Path(__file__).resolve().parents[2])  # run from anywhere, without PYTHONPATH

import tensorflow as tf  # noqa: E402

from kmax_tf import load_config  # noqa: E402
from kmax_tf.checkpoints.variable_names import named_variables  # noqa: E402
from kmax_tf.pixel_encoders import convnext  # noqa: E402
from trainer.evaluation.eval_loop import EvalLoop  # noqa: E402
from trainer.training.experiment import build_experiment  # noqa: E402
from trainer.training.train_loop import TrainLoop  # noqa: E402

# Nothing random: draws follow from the number of the replica.
OVERRIDES = (
    "model_options.backbone.drop_path_keep_prob=1",
    "model_options.decoder.use_semantic_decoder=false",
    "model_options.max_deeplab.transformer_decoder_drop_path_keep_prob=1",
    "model_options.max_deeplab.instance_discrimination_sample_k=289",
    "trainer_options.solver_options.optimizer=sgd",
    "trainer_options.solver_options.warmup_steps=0",
)


class Loop(TrainLoop):
    def _report(self, terms, *_):
        print("TERMS", json.dumps(terms))


def main(config_file: str, devices: int, overrides: list[str]) -> None:
    tf.config.set_visible_devices([], "GPU")
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * devices)
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})  # starts sooner
    # One block a stage is traced soonest.
    convnext.VARIANTS["atto"] = convnext.Variant((1, 1, 1, 1), (8, 16, 32, 64))
    strategy = tf.distribute.MirroredStrategy([f"/cpu:{i}" for i in range(devices)])
    experiment = build_experiment(load_config(config_file, (*OVERRIDES, *overrides)), strategy, seed=0)
    folder = pathlib.Path(tempfile.mkdtemp())
    loop = Loop(experiment, folder, threading.Event())
    loop.train(tf.constant(1))
    assert loop._run.experimental_get_tracing_count() == 1
    print("NORMS", json.dumps({k: float(tf.norm(v)) for k, v in named_variables(experiment.model).items()}))
    EvalLoop(experiment, folder, threading.Event()).evaluate(tf.constant(-1))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3:])
