"""Every experiment config, from records to an exported model: two steps at a small crop."""

import concurrent.futures
import multiprocessing
import pathlib
import shutil

import numpy as np
import pytest
import tensorflow as tf

from data.records import schema
from kmax_tf import Predictor, load_config
from protos import descriptions
from protos.config import dataset_info
from trainer.export import export
from trainer.prediction.inference import load_predictor
from trainer.train import run_experiment
from trainer.training.distribution import make_strategy

ROOT = pathlib.Path(__file__).parents[2]
CONFIGS = {str(path.relative_to(ROOT / "configs")): path for path in sorted((ROOT / "configs").glob("*/**/*.textproto"))}
SIZE = 65
QUICK = (
    "trainer_options.seed=1",
    "trainer_options.steps_per_loop=1",
    "trainer_options.solver_options.training_number_of_steps=2",
    "trainer_options.solver_options.warmup_steps=1",
    "evaluator_options.eval_steps=1",
    # The thresholds of a trained model would leave nothing to compare.
    "evaluator_options.thing_area_limit=0",
    "evaluator_options.stuff_area_limit=0",
    "evaluator_options.pixel_confidence_threshold=0.003",
    "evaluator_options.maskwise_postprocessing.transformer_class_confidence_threshold_thing=0",
    "evaluator_options.maskwise_postprocessing.transformer_class_confidence_threshold_stuff=0",
    "evaluator_options.maskwise_postprocessing.overlapping_threshold=0",
)


@pytest.fixture
def few_images(tmp_path):
    """Writes records of a dataset: four things on two halves of stuff, in the colours of their classes."""

    def write(dataset: str) -> pathlib.Path:
        info = descriptions.load(dataset)
        colors = {c.id: c.color for c in info.classes}
        rng = np.random.default_rng(0)
        path = tmp_path / "few.tfrecord"
        with tf.io.TFRecordWriter(str(path)) as writer:
            for number in range(2):
                upper, lower = rng.choice(info.stuff_ids, 2, replace=False)
                panoptic = np.where(np.arange(SIZE)[:, None] < 30, upper, lower) * np.ones((1, SIZE), int) * info.label_divisor
                for instance, thing in enumerate(rng.choice(info.thing_ids, 4), 1):
                    top, left = rng.integers(0, 40, 2)
                    panoptic[top : top + 20, left : left + 20] = thing * info.label_divisor + instance
                image = np.array([colors[label // info.label_divisor] for label in panoptic.ravel()], np.uint8)
                encoded = tf.io.encode_png(image.reshape(SIZE, SIZE, 3)).numpy()
                example = schema.build_example(encoded, "png", f"few_{number}", SIZE, SIZE, panoptic.astype(np.int32))
                writer.write(example.SerializeToString())
        return path

    return write


def train_and_export(name: str, records: pathlib.Path, folder: pathlib.Path) -> None:
    """Trains for two steps, evaluates one image, exports, and compares the map of an image."""
    overrides = [
        f"{section}.{field}"
        for section in ("train_dataset_options", "eval_dataset_options")
        for field in (f"file_pattern=[{records}]", f"crop_size=[{SIZE},{SIZE}]")
    ]
    batch = max(2, load_config(CONFIGS[name]).trainer_options.accumulate_steps)
    config = load_config(CONFIGS[name], [*overrides, *QUICK, f"train_dataset_options.batch_size={batch}"])
    run_experiment(config, "train_and_eval", folder / "run", make_strategy())
    assert (folder / "run" / "eval" / "metrics.json").exists()

    predictor = load_predictor(config, str(folder / "run"))
    export(predictor, config, folder / "saved_model")
    image = np.random.default_rng(1).integers(0, 256, (50, SIZE, 3), np.uint8)
    panoptic = Predictor(folder / "saved_model")(image).panoptic
    np.testing.assert_array_equal(panoptic, predictor(tf.constant(image))["panoptic_pred"][0])
    assert panoptic.shape == image.shape[:2] and set(np.unique(panoptic)) - {dataset_info(config).void_label}


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("name", CONFIGS)
def test_trains_evaluates_and_exports(name, few_images, tmp_path):
    records = few_images(load_config(CONFIGS[name]).train_dataset_options.dataset)
    # A process of its own: TensorFlow keeps what large models leave behind.
    with concurrent.futures.ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        pool.submit(train_and_export, name, records, tmp_path).result()
    shutil.rmtree(tmp_path)
