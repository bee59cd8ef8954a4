import logging
import pathlib
import subprocess
import sys

import pytest

from protos import experiment_pb2
from protos.config import config_to_text, dataset_info, load_config
from protos.descriptions import ConfigError

ROOT = pathlib.Path(__file__).resolve().parents[2]
CONFIGS = sorted((ROOT / "configs").rglob("*.textproto"))

MINIMAL = """
model_options {
  backbone { name: "kmax_resnet50" }
  max_deeplab {}
}
train_dataset_options { dataset: "coco_panoptic" crop_size: [65, 97] }
"""

# In the style of DeepLab2's textprotos: with placeholders and fields that have no effect.
DEEPLAB2_STYLE = """
experiment_name: "${EXPERIMENT_NAME}"
model_options {
  initial_checkpoint: "${INIT_CHECKPOINT}"
  backbone { name: "kmax_convnext_tiny" drop_path_keep_prob: 0.7 pretrained_weights: "${PRETRAINED_WEIGHTS}" }
  decoder { feature_key: "feature_semantic" aspp_channels: 256 atrous_rates: 6 atrous_rates: 12 atrous_rates: 18 }
  max_deeplab { auxiliary_semantic_head { output_channels: 134 head_channels: 256 } semantic_sample_k: 4096 }
}
trainer_options { loss_options { semantic_loss { name: "softmax_cross_entropy" weight: 1.0 top_k_percent: 1.0 } } }
train_dataset_options {
  dataset: "coco_panoptic"
  file_pattern: "${TRAIN_SET}"
  crop_size: 1281
  crop_size: 1281
  min_resize_value: 1281
  max_resize_value: 1281
  thing_id_mask_annotations: true
}
"""


@pytest.fixture
def write(tmp_path):
    def _write(text, name="small.textproto"):
        path = tmp_path / name
        path.write_text(text)
        return path

    return _write


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: str(p.relative_to(ROOT)))
def test_every_config_in_the_repository_loads_without_a_warning(path, caplog):
    with caplog.at_level(logging.WARNING):
        config = load_config(path)
    assert config.train_dataset_options.file_pattern or config.train_dataset_options.source
    assert config.eval_dataset_options.file_pattern
    assert not caplog.records


def test_coco_config_is_the_published_recipe():
    config = load_config(ROOT / "configs/coco/kmax_r50.textproto")
    solver = config.trainer_options.solver_options
    assert (solver.training_number_of_steps, solver.warmup_steps, solver.optimizer) == (150000, 5000, "adamw")
    assert solver.base_learning_rate == pytest.approx(5e-4) and solver.backbone_learning_rate_multiplier == pytest.approx(0.1)
    assert solver.adamw_weight_decay == pytest.approx(0.05) and solver.batchnorm_momentum == pytest.approx(0.99)
    losses = config.trainer_options.loss_options
    weights = [term.weight for _, term in losses.ListFields()]
    assert weights == pytest.approx([1.0, 3.0, 0.3, 1.0])
    assert config.train_dataset_options.batch_size == 64
    assert list(config.eval_dataset_options.crop_size) == [1281, 1281]
    merging = config.evaluator_options.maskwise_postprocessing
    assert [value for _, value in merging.ListFields()] == pytest.approx([0.7, 0.5, 0.8, 1.0, 1.0])


def test_resolved_text_loads_to_the_same_config(write):
    for path in CONFIGS:
        config = load_config(path)
        assert load_config(write(config_to_text(config))) == config


def test_name_defaults_to_the_stem_of_the_file(write):
    assert load_config(write(MINIMAL, "my_run.textproto")).experiment_name == "my_run"


def test_placeholders_count_as_empty_except_for_file_patterns(write, caplog):
    with caplog.at_level(logging.INFO, logger="absl"):
        config = load_config(write(DEEPLAB2_STYLE))
    assert config.experiment_name == "small"
    assert not config.model_options.HasField("initial_checkpoint")
    assert not config.model_options.backbone.HasField("pretrained_weights")
    assert list(config.train_dataset_options.file_pattern) == ["${TRAIN_SET}"]
    assert sum("${INIT_CHECKPOINT}" in r.getMessage() for r in caplog.records) == 1


def test_ignored_fields_of_published_configs_warn_only_if_they_differ_from_what_is_done(write, caplog):
    with caplog.at_level(logging.WARNING):
        load_config(write(DEEPLAB2_STYLE))
    assert [r.getMessage() for r in caplog.records if "semantic_sample_k" in r.getMessage()]
    assert len(caplog.records) == 1


def test_description_next_to_the_config_becomes_an_absolute_path(write, tmp_path):
    description = 'name: "pets" panoptic_label_divisor: 200 ignore_label: 0 classes { id: 1 name: "cat" is_thing: true }'
    (tmp_path / "pets.textproto").write_text(description)
    config = load_config(write(MINIMAL.replace("coco_panoptic", "pets.textproto")))
    assert config.train_dataset_options.dataset == str(tmp_path / "pets.textproto")
    assert dataset_info(config).name == "pets"
    assert config.model_options.max_deeplab.auxiliary_semantic_head.output_channels == 2


def test_name_of_a_shipped_description_stays(write):
    assert load_config(write(MINIMAL)).train_dataset_options.dataset == "coco_panoptic"


def test_evaluation_only_config_uses_the_classes_of_its_evaluation_dataset(write):
    config = load_config(write(MINIMAL.replace("train_dataset", "eval_dataset")))
    assert dataset_info(config).name == "coco_panoptic"
    with pytest.raises(ConfigError, match="neither train_dataset_options.dataset nor eval_dataset_options.dataset is set"):
        dataset_info(experiment_pb2.ExperimentOptions())


def test_a_smaller_overridden_crop_size_lowers_the_resize_values():
    config = load_config(ROOT / "configs/coco/kmax_r50.textproto", ["train_dataset_options.crop_size=[129,193]"])
    assert list(config.train_dataset_options.max_resize_value) == [129, 193]
    assert list(config.train_dataset_options.min_resize_value) == [129, 193]
    assert list(config.eval_dataset_options.max_resize_value) == [1281]


_SOURCES = 'source { file_pattern: "a-*" weight: 3 } source { file_pattern: "b-*" }'


def _with_records(text):
    return MINIMAL.replace("crop_size", f"{text} crop_size")


def test_sources_replace_file_patterns(write):
    path = write(_with_records(_SOURCES))
    options = load_config(path).train_dataset_options
    assert [(list(source.file_pattern), source.weight) for source in options.source] == [(["a-*"], 3.0), (["b-*"], 1.0)]


@pytest.mark.parametrize("records", ['file_pattern: "a-*"', _SOURCES])
@pytest.mark.parametrize(
    ("overrides", "patterns", "of_sources"),
    [
        (["file_pattern=c-*"], ["c-*"], []),
        (['source={file_pattern: "d-*"}'], [], [["d-*"]]),
        (["file_pattern=[]", 'source={file_pattern: "d-*"}'], [], [["d-*"]]),
        (['source={file_pattern: "d-*"}', "file_pattern=[]"], [], [["d-*"]]),
        (["file_pattern=c-*", 'source={file_pattern: "d-*"}'], [], [["d-*"]]),
        (['source={file_pattern: "d-*"}', "file_pattern=c-*"], ["c-*"], []),
    ],
)
def test_the_records_that_are_overridden_last_replace_the_others(write, records, overrides, patterns, of_sources):
    path = write(_with_records(records))
    options = load_config(path, [f"train_dataset_options.{override}" for override in overrides]).train_dataset_options
    assert (list(options.file_pattern), [list(source.file_pattern) for source in options.source]) == (patterns, of_sources)


@pytest.mark.parametrize(
    ("section", "text", "message"),
    [
        ("train", 'file_pattern: "c" ' + _SOURCES, r"train_dataset_options.source: file_pattern is set too"),
        ("train", "source { weight: 2 }", r"train_dataset_options.source\[0\].file_pattern: not set"),
        ("train", _SOURCES.replace("3", "0"), r"train_dataset_options.source\[0\].weight: 0 must be above 0"),
        ("eval", _SOURCES, r"eval_dataset_options.source: evaluation does not mix records by weight"),
    ],
)
def test_invalid_sources(write, section, text, message):
    with pytest.raises(ConfigError, match=message):
        load_config(write(_with_records(text).replace("train_", f"{section}_")))


def test_a_larger_overridden_crop_size_keeps_the_resize_values(write):
    text = MINIMAL.replace("crop_size", "min_resize_value: 0 max_resize_value: 65 crop_size")
    config = load_config(write(text), ["train_dataset_options.crop_size=[129,129]"])
    assert list(config.train_dataset_options.max_resize_value) == [65]
    assert list(config.train_dataset_options.min_resize_value) == [0]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (
            "max_deeplab",
            "max_deplab",
            r'small\.textproto:4: ModelOptions has no field "max_deplab"; did you mean "max_deeplab"\?',
        ),
        ("max_deeplab", "panoptic", r'small\.textproto:4: ModelOptions has no field "panoptic"; its fields are backbone,'),
        ("[65, 97]", "[65, x]", r"small\.textproto:6: crop_size: Couldn't parse integer: x"),
        ('"coco_panoptic"', "coco_panoptic", r"small\.textproto:6: dataset: Expected string"),
        ("max_deeplab {}", "max_deeplab {} max_deeplab {}", r"small\.textproto:4: max_deeplab is set more than once"),
        ("\ntrain", "\ntrainer_options { mixed_precision: BFLOAT }\ntrain", r':6: mixed_precision: BFLOAT is not .*"BFLOAT16"'),
        ('"coco_panoptic"', '"coco_panoptics"', r'train_dataset_options\.dataset: .*did you mean "coco_panoptic"'),
    ],
)
def test_parse_errors_name_file_line_and_field(write, old, new, expected):
    with pytest.raises(ConfigError, match=expected):
        load_config(write(MINIMAL.replace(old, new, 1)))


def test_a_description_is_not_a_config():
    path = pathlib.Path(__file__).parents[2] / "data" / "descriptions" / "coco_panoptic.textproto"
    with pytest.raises(ConfigError, match='coco_panoptic.textproto:.* no field "name": this file describes the classes'):
        load_config(path)


def test_missing_file_suggests_a_similar_name(write):
    path = write(MINIMAL)
    with pytest.raises(ConfigError, match="no such config file; did you mean .*small.textproto"):
        load_config(path.with_name("smal.textproto"))


def test_error_for_a_binary_file_names_it(tmp_path):
    (tmp_path / "weights.textproto").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="weights.textproto: is not UTF-8 text .byte 0xff at offset 0"):
        load_config(tmp_path / "weights.textproto")
    with pytest.raises(ConfigError, match="is a folder; give a config file, such as .*weights.textproto"):
        load_config(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("version", ["5.28.*", "6.*", "7.*"])
def test_configs_load_with_every_supported_protobuf(tmp_path, version):
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(tmp_path), f"protobuf=={version}", "absl-py"]
    subprocess.run(install, check=True)
    program = (
        f"import sys; sys.path[:0] = [{str(tmp_path)!r}, {str(ROOT)!r}]\n"
        "import google.protobuf; from protos.config import load_config\n"
        f"for path in {[str(p) for p in CONFIGS]!r}: load_config(path)\n"
        "print(google.protobuf.__version__)"
    )
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert done.stdout.startswith(version.rstrip("*"))


def test_configs_of_this_project_are_found_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    name = "configs/demo/scenes.textproto"
    assert config_to_text(load_config(name)) == config_to_text(load_config(ROOT / name))
    with pytest.raises(ConfigError, match="configs/demo/none.textproto: there is no such config file"):
        load_config("configs/demo/none.textproto")
    # A file of that name in the working directory is the user's own.
    (tmp_path / "configs" / "demo").mkdir(parents=True)
    (tmp_path / name).write_text("model_options { oops: 1 }")
    with pytest.raises(ConfigError, match="^configs/demo/scenes.textproto"):
        load_config(name)
