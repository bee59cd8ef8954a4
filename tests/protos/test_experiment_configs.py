"""The configs of this repository: their headers, and that they match the published experiments."""

import pathlib
import re

import pytest
from deeplab2_textprotos import EXPERIMENTS, textproto
from google.protobuf import text_format

from protos import experiment_pb2
from protos.config import load_config
from protos.rules import IGNORED

ROOT = pathlib.Path(__file__).parents[2]
CONFIGS = {str(path.relative_to(ROOT)): path for path in sorted((ROOT / "configs").glob("*/**/*.textproto"))}
OURS = ("configs/demo/", "configs/ablations/", "configs/small/")
PUBLISHED = [name for name in CONFIGS if not name.startswith(OURS) and "overfit" not in name]
# Fields that our configs set and DeepLab2's do not, or the reverse, without effect on the experiment.
PLACES = ("experiment_name", "model_options.initial_checkpoint", "model_options.backbone.pretrained_weights")


def fields(message, prefix=""):
    """{path: value} of the fields that are set in a message, except ignored fields, file names and defaults."""
    found = {}
    for field, value in message.ListFields():
        path = f"{prefix}{field.name}"
        if field.name in IGNORED.get(message.DESCRIPTOR.name, {}) or field.name == "file_pattern" or path in PLACES:
            continue
        repeated = hasattr(value, "extend")
        if field.message_type is None:
            if repeated or value != field.default_value:
                found[path] = list(value) if repeated else value
        else:
            for position, item in enumerate(value if repeated else [value]):
                found |= fields(item, f"{path}[{position}].")
    return found


def our_name(experiment):
    """configs/coco/kmax_maxs.textproto for coco/kmax_meta_axial_r50_os32."""
    dataset, _, stem = experiment.partition("/")
    backbone, _, resolution = stem.removeprefix("kmax_meta_").partition("_os32")
    backbone = backbone.replace("axial_r50", "maxs")
    backbone = re.sub("convnext_([tsbl]).*", r"convnext_\1", backbone)
    size = f"_{resolution.removeprefix('_res') or 641}" if dataset == "ade20k" else ""
    return f"configs/{dataset}/kmax_{backbone}{size}.textproto"


def test_every_published_result_has_a_config():
    extended = {f"configs/coco/kmax_convnext_l_{what}.textproto" for what in ("256_queries", "pseudo_labels")}
    assert set(PUBLISHED) == {our_name(name) for name in EXPERIMENTS} | extended


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_configs_match_the_published_experiments(experiment, tmp_path):
    theirs = tmp_path / "theirs.textproto"
    theirs.write_text(textproto(experiment))
    ours, theirs = fields(load_config(CONFIGS[our_name(experiment)])), fields(load_config(theirs))
    # Weights of small instances matter only in training; DeepLab2 also sets them for evaluation, where no loss is computed.
    theirs = {k: v for k, v in theirs.items() if not k.startswith("eval_dataset_options[0].") or "small_instance" not in k}
    theirs = {k: v for k, v in theirs.items() if not k.endswith("small_instance_weight") or v != 1.0}
    if "cityscapes" in experiment:
        # 0 means no resizing in training; in evaluation it is the default if images fill the crop.
        ours, theirs = ({k: v for k, v in f.items() if "_resize_value" not in k} for f in (ours, theirs))
    assert ours == theirs


def test_extended_configs_differ_from_their_base_only_as_documented():
    base, queries, pseudo = (
        fields(load_config(CONFIGS[f"configs/coco/kmax_convnext_l{what}.textproto"]))
        for what in ("", "_256_queries", "_pseudo_labels")
    )
    transformer = "model_options[0].max_deeplab[0]."
    assert queries == base | {f"{transformer}num_mask_slots": 256, f"{transformer}num_dropped_mask_slots": 128}
    assert {name: value for name, value in pseudo.items() if ".source[" not in name} == base
    sources = load_config(CONFIGS["configs/coco/kmax_convnext_l_pseudo_labels.textproto"]).train_dataset_options.source
    assert [(source.file_pattern[0].split("/")[-1], source.weight) for source in sources] == [
        ("train-*.tfrecord", 1.0),
        ("pseudo-*.tfrecord", 1.0),
    ]


@pytest.mark.parametrize("name", PUBLISHED)
def test_headers_are_complete(name):
    header = CONFIGS[name].read_text().split("\n\n")[0]
    assert all(line.startswith("#") for line in header.splitlines())
    published = re.search(r"^# Published: PQ (\d\d\.\d)(?: \(things \d\d\.\d, stuff \d\d\.\d\))?([^\n]*)", header, re.M)
    assert published and ("mIoU" in published[2]) == ("/coco/" not in name) and ("AP" in published[2]) == ("cityscapes" in name)
    assert re.search(r"^# Costs:     \d+\.\d\d M parameters \(.*\), \d+\.\d G multiply-adds at \d+x\d+$", header, re.M)
    config = load_config(CONFIGS[name])
    batch, steps = config.train_dataset_options.batch_size, config.trainer_options.solver_options.training_number_of_steps
    assert f"batch {batch} " in header and f"{steps // 1000}k steps" in header and "TPU cores" in header
    assert f"--config_file={name}" in header
    assert config.experiment_name == name.removeprefix("configs/").removesuffix(".textproto").replace("/", "_")


SMALL = [name for name in CONFIGS if name.startswith("configs/small/")]


@pytest.mark.parametrize("name", SMALL)
def test_headers_of_small_recipes_say_what_they_need(name):
    header = CONFIGS[name].read_text().split("\n\n")[0]
    assert re.search(r"^# Memory:    .*\d GB", header, re.M) and re.search(r"^# Time:      .*\d", header, re.M)
    assert f"--config_file={name}" in header or "--config_file=FILE" in header
    assert load_config(CONFIGS[name]).experiment_name == f"small_{CONFIGS[name].stem}"


@pytest.mark.parametrize("name", [name for name in SMALL if "one_gpu" in name])
def test_rates_of_small_recipes_follow_the_rule_in_their_header(name):
    published = load_config(CONFIGS["configs/coco/kmax_r50.textproto"]).trainer_options.solver_options
    config = load_config(CONFIGS[name])
    solver, share = config.trainer_options.solver_options, config.train_dataset_options.batch_size / 64
    assert solver.base_learning_rate == pytest.approx(share * published.base_learning_rate)
    assert solver.warmup_steps * share == published.warmup_steps
    assert solver.training_number_of_steps * share == 50000


@pytest.mark.parametrize("name", CONFIGS)
def test_configs_are_strict_text_format_without_ignored_fields(name, caplog):
    text_format.Parse(CONFIGS[name].read_text(), experiment_pb2.ExperimentOptions())
    load_config(CONFIGS[name])
    assert "no effect" not in caplog.text
