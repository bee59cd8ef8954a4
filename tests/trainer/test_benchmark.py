"""The report on what a model costs, run as a user would."""

import contextlib
import json
import math
import os
import pathlib
import signal
import subprocess
import sys
import tempfile

import pytest
from command_line import ROOT, run_script
from tiny_config import TINY

from kmax_tf import ConfigError, build_model, load_config
from kmax_tf.cost.model_cost import model_cost
from kmax_tf.pixel_encoders import convnext
from protos.errors import UserError
from trainer.benchmark import benchmark, parse_size, sized_config
from trainer.measure.jobs import Job

COMMAND = "trainer/benchmark.py"
SHALLOW = "tests/helpers/shallow_benchmark.py"


@pytest.fixture(scope="module")
def config_file(tmp_path_factory) -> pathlib.Path:
    """A config whose records do not exist: speed needs no data."""
    path = tmp_path_factory.mktemp("config") / "tiny.textproto"
    path.write_text(TINY.replace("RECORDS", "/nowhere"))
    return path


def _result(completed: subprocess.CompletedProcess) -> dict:
    assert completed.returncode == 0, completed.stderr
    return json.loads(completed.stdout.splitlines()[-1])


@pytest.fixture
def one_block(monkeypatch: pytest.MonkeyPatch) -> None:
    """The encoder of SHALLOW."""
    monkeypatch.setitem(convnext.VARIANTS, "atto", convnext.Variant((1, 1, 1, 1), (8, 16, 32, 64)))


@pytest.mark.usefixtures("one_block")
def test_report_of_everything(config_file):
    completed = run_script(SHALLOW, f"--config_file={config_file}", "--image_size=60,97", "--steps=3", "--batch_size=2")
    result = _result(completed)
    model = build_model(load_config(config_file))
    count = sum(math.prod(v.shape) for v in model.trainable_variables)
    semantic = sum(math.prod(v.shape) for v in model.semantic_branch.trainable_variables)
    cost = model_cost(model, 60, 97)
    assert result["parameters_with_semantic_branch"] == count
    assert result["parameters"] == count - semantic
    assert result["multiply_adds"] == cost.published_multiply_adds
    assert result["multiply_adds_with_encoder_depthwise"] == cost.all_multiply_adds
    assert result["multiply_adds_by_part"] == cost.multiply_adds
    assert (result["image_size"], result["padded_size"]) == ([60, 97], [65, 97])
    assert result["machine"]["precision"] == "FLOAT32" and not result["machine"]["jit_compile"]
    for name, images in {"model": 2, "post_processing": 1, "panoptic_map": 1}.items():
        speed, seconds = result[name], result[name]["seconds_per_step"]
        assert speed["batch_size"] == images
        assert speed["images_per_second"] == pytest.approx(images / seconds["median"])
        assert 0 < seconds["fastest"] <= seconds["median"] <= seconds["slowest"] < speed["first_call_seconds"]
        assert 200 < speed["peak_host_mib"] < 16000
        assert f"{name.replace('_', ' ')}: step 3 of 3" in completed.stdout
    share = result["model"]["images_per_second"] / result["post_processing"]["images_per_second"]
    assert f"post-processing of an image takes {share:.1%} of the time of the model" in completed.stdout
    model_speed = result["model"]
    achieved = 2e-9 * cost.all_multiply_adds * model_speed["images_per_second"]
    assert model_speed["share_of_matrix_product_rate"] == pytest.approx(achieved / model_speed["matrix_product_gflops"])
    assert "matrix products of 2048x2048 run at" in completed.stdout
    assert "60x97 is not of the form 32k+1" in completed.stdout and "all else pads it to 65x97" in completed.stdout


@pytest.mark.usefixtures("one_block")
def test_counting_alone_takes_overrides(config_file):
    override = "--override=model_options.max_deeplab.num_mask_slots=16"
    result = _result(run_script(SHALLOW, f"--config_file={config_file}", "--image_size=65,65", "--count_only", override))
    model = build_model(load_config(config_file, ["model_options.max_deeplab.num_mask_slots=16"]))
    assert result["multiply_adds_by_part"] == model_cost(model, 65, 65).multiply_adds
    assert not {"model", "panoptic_map", "training"} & set(result)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--config_file=/nowhere/x.textproto", "--image_size=65,65"], "/nowhere/x.textproto: there is no such config file"),
        (["--config_file=CONFIG", "--image_size=65x65"], "--image_size=65x65: write height and width"),
        (["--config_file=CONFIG", "--image_size=65,65", "--count_only", "--train"], "give at most one of"),
        (["--config_file=CONFIG"], "--image_size=H,W is missing"),
        (["--config_file=CONFIG", "--input", "--train"], "give at most one of"),
        (["--config_file=CONFIG", "--growth=missing/x.png"], "--growth=missing/x.png: the folder missing does not exist"),
    ],
)
def test_bad_input_is_one_message(arguments, message, config_file):
    result = run_script(COMMAND, *(argument.replace("CONFIG", str(config_file)) for argument in arguments))
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    errors = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1 and message in errors[0]


def test_training_needs_its_section(tmp_path):
    path = tmp_path / "evaluation_only.textproto"
    before, _, rest = TINY.replace("RECORDS", "/nowhere").partition("train_dataset_options")
    path.write_text(before + rest[rest.index("eval_dataset_options") :])
    config = sized_config(str(path), [], (65, 65), 1)
    with pytest.raises(ConfigError, match="^tiny: --train needs train_dataset_options"):
        benchmark(config, Job(config.SerializeToString(), 65, 65, 1, 1), count_only=False, train=True)


@pytest.mark.parametrize("text", ["65", "65,", "65,65,3", "-65,65", "65.0,65", "a,b", "", "100000,65"])
def test_sizes_written_otherwise_are_refused(text):
    with pytest.raises(UserError, match="such as --image_size=801,1201"):
        parse_size(text)


def test_sizes():
    assert parse_size(" 801, 1201") == (801, 1201)
    with pytest.raises(UserError, match="at least 33"):
        parse_size("33,32")


def test_images_are_not_resized(config_file):
    resized = [
        "eval_dataset_options.min_resize_value=97",
        "eval_dataset_options.max_resize_value=97",
        "train_dataset_options.resize_factor=16",
    ]
    with pytest.raises(ConfigError, match="batch_size: 3 must be divisible by trainer_options.accumulate_steps, 2"):
        sized_config(str(config_file), ["trainer_options.accumulate_steps=2"], (129, 161), 3)
    config = sized_config(str(config_file), resized, (129, 161), 4)
    for options in (config.train_dataset_options, config.eval_dataset_options):
        assert list(options.crop_size) == [129, 161]
        assert not any(options.min_resize_value) and not options.resize_factor
        assert list(options.max_resize_value) in ([], [0], [0, 0], [129, 161])
    assert config.train_dataset_options.batch_size == 4
    accumulating = sized_config(str(config_file), ["trainer_options.accumulate_steps=2"], (129, 161), None)
    assert accumulating.train_dataset_options.batch_size == 2


def test_ctrl_c_ends_it_and_the_process_that_measures(config_file):
    command = [sys.executable, str(ROOT / COMMAND), f"--config_file={config_file}", "--image_size=65,65", "--steps=1000000"]
    environment = {"PATH": "/usr/bin:/bin", "HOME": tempfile.gettempdir(), "TF_CPP_MIN_LOG_LEVEL": "2"}
    process = subprocess.Popen(
        command,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # In a session of its own, Ctrl-C can be sent to all of its processes and to no other.
        start_new_session=True,
        # Whoever runs the tests may ignore Ctrl-C, which is inherited.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        for line in process.stdout:
            if "building the model" in line:  # says the process that measures
                break
        os.killpg(process.pid, signal.SIGINT)
        # The process that measures has the same standard output: this ends when both have ended.
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 130
        assert errors.splitlines()[-1] == "interrupted" and "Traceback" not in errors
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


# Parameters in millions, multiply-adds in billions. The paper (tables 1 to 3) has 57, 74, 122 and 232 M, and 168, 240, 380 and
# 744 G for COCO, 434, 602, 858 and 1673 G for Cityscapes, 75, 295, 333 and 1302 G for ADE20K.
_PUBLISHED = [
    ("coco/kmax_r50", "801,1201", 56.58, 172.0),
    ("coco/kmax_maxs", "801,1201", 74.42, 244.8),
    ("coco/kmax_convnext_b", "801,1201", 121.51, 389.1),
    ("coco/kmax_convnext_l", "801,1201", 231.84, 764.4),
    ("cityscapes/kmax_r50", "1025,2049", 56.40, 432.0),
    ("cityscapes/kmax_maxs", "1025,2049", 74.24, 597.6),
    ("cityscapes/kmax_convnext_b", "1025,2049", 121.34, 854.0),
    ("cityscapes/kmax_convnext_l", "1025,2049", 231.66, 1667.1),
    ("ade20k/kmax_r50_641", "641,641", 56.61, 74.6),
    ("ade20k/kmax_r50_1281", "1281,1281", 56.61, 293.4),
    ("ade20k/kmax_convnext_l_641", "641,641", 231.87, 331.8),
    ("ade20k/kmax_convnext_l_1281", "1281,1281", 231.87, 1297.0),
]


@pytest.mark.slow
@pytest.mark.parametrize(("config", "size", "parameters", "multiply_adds"), _PUBLISHED)
def test_published_models_cost_what_is_known(config, size, parameters, multiply_adds):
    path = ROOT / "configs" / f"{config}.textproto"
    result = _result(run_script(COMMAND, f"--config_file={path}", f"--image_size={size}", "--count_only"))
    assert result["parameters"] / 1e6 == pytest.approx(parameters, abs=0.005)
    assert result["multiply_adds"] / 1e9 == pytest.approx(multiply_adds, rel=0.001)


@pytest.mark.parametrize("flag", ["--suite", "--growth=growth.png"])
def test_sizes_of_its_own(flag, config_file):
    result = run_script(COMMAND, f"--config_file={config_file}", flag, "--image_size=65,65")
    assert result.returncode == 1
    assert f"error: {flag.partition('=')[0]} has sizes of its own: remove --image_size" in result.stderr


@pytest.mark.slow
def test_suite(config_file):
    suite = _result(run_script(COMMAND, f"--config_file={config_file}", "--suite", "--steps=1"))
    assert suite["model 641x641"]["share_of_matrix_product_rate"] > 0
    assert suite["training step 257x257, batch 2"]["batch_size"] == 2
    assert 1 < suite["start of a training 257x257, batch 2"]["seconds"] < 600
