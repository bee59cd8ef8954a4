"""The rows of docs/performance.md, measured one after the other for a config."""

import pathlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from typing import Any

from kmax_tf.cost.model_cost import ModelCost
from protos.config import dataset_info, load_config
from protos.errors import UserError
from trainer.measure.drawn_records import write_drawn_records
from trainer.measure.fresh_process import Progress, run_alone
from trainer.measure.jobs import Job, count_cost, measure_model, measure_post_processing, measure_training
from trainer.measure.report import format_table, matrix_product_share

_TRAIN = pathlib.Path(__file__).parents[1] / "train.py"
_SIDES = (641, 1281)
# The size of Cityscapes.
_WIDE = (1025, 2049)
_WIDE_SLOTS = "model_options.max_deeplab.num_mask_slots=256"
_CROP = (257, 257)
_BATCH = 2


def measure_suite(config_file: str, overrides: Sequence[str], steps: int, progress: Progress) -> dict[str, Any]:
    """Measures all rows, each in a process of its own; returns them by name (see suite_report).

    The config has train_dataset_options.

    Raises:
      UserError: the config cannot be used, or memory runs out.
    """

    def run(task: Callable[..., Any], size: tuple[int, int], *extra: str, batch: int = 1) -> Any:
        config = load_config(config_file, [*overrides, *extra])
        title = f"{task.__name__.replace('_', ' ')} at {size[0]}x{size[1]}"
        job = Job(config.SerializeToString(), *size, batch, steps)
        return run_alone(title, task, job, progress=lambda line: progress(f"{title}: {line}"))

    results: dict[str, Any] = {}
    for side in _SIDES:
        cost: ModelCost = run(count_cost, (side, side))[0]
        model, post = run(measure_model, (side, side)), run(measure_post_processing, (side, side))
        results[f"model {side}x{side}"] = model | {"share_of_matrix_product_rate": matrix_product_share(cost, model)}
        results[f"post-processing {side}x{side}"] = post | {
            "share_of_model": model["images_per_second"] / post["images_per_second"]
        }
    results["post-processing 1025x2049, 256 slots"] = run(measure_post_processing, _WIDE, _WIDE_SLOTS)
    sized = [f"train_dataset_options.crop_size={list(_CROP)}", f"train_dataset_options.batch_size={_BATCH}"]
    results["training step 257x257, batch 2"] = run(measure_training, _CROP, *sized, batch=_BATCH)
    progress("start of a training at 257x257: running trainer/train.py")
    results["start of a training 257x257, batch 2"] = {"seconds": seconds_to_first_step(config_file, [*overrides, *sized])}
    return results


def seconds_to_first_step(config_file: str, overrides: Sequence[str]) -> float:
    """Seconds from the start of trainer/train.py to its report of the first step, with drawn records.

    Raises:
      UserError: the training fails; the message has the end of its output.
    """
    info = dataset_info(load_config(config_file, overrides))
    with tempfile.TemporaryDirectory() as folder:
        records = pathlib.Path(folder) / "train-00000-of-00001.tfrecord"
        write_drawn_records(records, info)
        settings = {
            "train_dataset_options.file_pattern": f'"{records}"',
            "train_dataset_options.data_service": '""',  # its workers may not see the records
            "trainer_options.solver_options.training_number_of_steps": 1,
            "trainer_options.steps_per_loop": 1,
            "trainer_options.save_summaries_steps": 1,
            "trainer_options.seed": 0,
            "model_options.initial_checkpoint": '""',
        }
        added = [f"--override={text}" for text in (*overrides, *(f"{name}={value}" for name, value in settings.items()))]
        command = [sys.executable, str(_TRAIN), f"--config_file={config_file}", "--mode=train", f"--model_dir={folder}/run"]
        start = time.monotonic()
        with subprocess.Popen([*command, *added], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
            lines = []
            for line in process.stdout:
                lines.append(line)
                if line.startswith("step 1/"):
                    seconds = time.monotonic() - start
                    process.kill()
                    return seconds
    raise UserError(f"trainer/train.py ended before the first step: {''.join(lines[-5:]).strip()}")


def suite_report(results: dict[str, Any]) -> str:
    """The rows as a table."""
    rows = [["", "time", "peak memory", "share"]]
    for name, result in results.items():
        seconds = result.get("seconds") or result["seconds_per_step"]["median"]
        memory = f"{result['peak_host_mib']:.0f} MiB" if "peak_host_mib" in result else "-"
        share = "-"
        if "share_of_matrix_product_rate" in result:
            share = f"{result['share_of_matrix_product_rate']:.0%} of the matrix-product rate"
        elif "share_of_model" in result:
            share = f"{result['share_of_model']:.0%} of the model"
        rows.append([name, f"{seconds:.3g} s", memory, share])
    return format_table(rows)
