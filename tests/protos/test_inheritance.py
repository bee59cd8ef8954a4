"""Configs with a base: what they inherit, and invalid bases."""

import pytest

from protos.config import config_to_text, load_config
from protos.descriptions import ConfigError

BASE = """
experiment_name: "first"
model_options {
  initial_checkpoint: "/start"
  backbone { name: "kmax_resnet50" drop_path_keep_prob: 0.9 }
  max_deeplab { num_mask_slots: 64 num_decoders: [1, 1, 1] }
}
trainer_options {
  seed: 3
  loss_options { pq_style_loss { weight: 3.0 } semantic_loss { weight: 1.0 top_k_percent: 0.2 } }
}
train_dataset_options { dataset: "coco_panoptic" file_pattern: ["a", "b"] crop_size: [641, 641] batch_size: 4 }
"""
VARIANT = """
base: "base.textproto"
model_options {
  backbone { name: "kmax_convnext_tiny" }
  max_deeplab { num_decoders: [2, 2, 0] }
}
trainer_options { seed: 0 loss_options { semantic_loss { weight: 0.5 } } }
train_dataset_options { file_pattern: "c" crop_size: [33, 65] }
"""


@pytest.fixture
def write(tmp_path):
    def _write(text, name="variant.textproto"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        return path

    _write(BASE, "base.textproto")
    return _write


def test_a_variant_inherits_the_fields_it_does_not_set(write):
    config = load_config(write(VARIANT))
    model, options = config.model_options, config.train_dataset_options
    assert (model.backbone.name, round(model.backbone.drop_path_keep_prob, 3)) == ("kmax_convnext_tiny", 0.9)
    assert (model.max_deeplab.num_mask_slots, list(model.max_deeplab.num_decoders)) == (64, [2, 2, 0])
    assert (options.dataset, list(options.file_pattern), options.batch_size) == ("coco_panoptic", ["c"], 4)
    assert list(options.crop_size) == [33, 65]
    losses = config.trainer_options.loss_options
    assert (losses.pq_style_loss.weight, losses.semantic_loss.weight) == (3.0, 0.5)
    assert round(losses.semantic_loss.top_k_percent, 3) == 0.2
    # A field set to 0 is not unset.
    assert config.trainer_options.seed == 0 and config.trainer_options.HasField("seed")


def test_the_resolved_config_is_complete_without_its_base(write, tmp_path):
    config = load_config(write(VARIANT))
    assert not config.HasField("base") and "base:" not in config_to_text(config)
    saved = write(config_to_text(config), "elsewhere/saved.textproto")
    (tmp_path / "base.textproto").unlink()
    assert load_config(saved) == config


def test_a_variant_does_not_inherit_the_name(write):
    assert load_config(write(VARIANT, "second.textproto")).experiment_name == "second"
    assert load_config(write(VARIANT + 'experiment_name: "mine"')).experiment_name == "mine"


def test_an_empty_value_overrides_that_of_the_base(write):
    assert load_config(write(VARIANT)).model_options.initial_checkpoint == "/start"
    config = load_config(write(VARIANT.replace("model_options {", 'model_options { initial_checkpoint: ""')))
    assert not config.model_options.HasField("initial_checkpoint")


def test_bases_can_be_chained_across_folders(write):
    write('base: "../base.textproto" trainer_options { seed: 8 accumulate_steps: 2 }', "middle/middle.textproto")
    config = load_config(write('base: "middle/middle.textproto" trainer_options { seed: 9 }'))
    assert (config.trainer_options.seed, config.trainer_options.accumulate_steps) == (9, 2)
    assert config.train_dataset_options.batch_size == 4


def test_overrides_apply_after_the_base(write):
    config = load_config(write(VARIANT), ["trainer_options.seed=5", "train_dataset_options.batch_size=2"])
    assert (config.trainer_options.seed, config.train_dataset_options.batch_size) == (5, 2)
    with pytest.raises(ConfigError, match="variant.textproto: base cannot be overridden"):
        load_config(write(VARIANT), ["base=base.textproto"])


def test_sources_and_file_patterns_replace_each_other(write):
    options = load_config(write(VARIANT.replace('file_pattern: "c"', 'source { file_pattern: "d" }'))).train_dataset_options
    assert (len(options.source), list(options.file_pattern)) == (1, [])
    write(BASE.replace('file_pattern: ["a", "b"]', 'source { file_pattern: "d" weight: 2 }'), "base.textproto")
    options = load_config(write(VARIANT)).train_dataset_options
    assert (len(options.source), list(options.file_pattern)) == (0, ["c"])
    options = load_config(write(VARIANT.replace('file_pattern: "c"', ""))).train_dataset_options
    assert [source.weight for source in options.source] == [2.0]


def test_a_description_next_to_the_base_is_found_from_a_variant_in_another_folder(write, tmp_path):
    classes = 'classes { id: 1 name: "cat" is_thing: true }'
    write(f'name: "pets" panoptic_label_divisor: 256 ignore_label: 0 {classes}', "pets.textproto")
    write(BASE.replace("coco_panoptic", "pets.textproto"), "base.textproto")
    path = write(VARIANT.replace('"base', '"../base'), "elsewhere/variant.textproto")
    assert load_config(path).train_dataset_options.dataset == str((tmp_path / "pets.textproto").resolve())


def test_error_for_a_missing_base_names_both_files(write):
    with pytest.raises(ConfigError, match=r"variant.textproto: base: .*bas.textproto: there is no such.*mean .*base.textproto"):
        load_config(write(VARIANT.replace("base.textproto", "bas.textproto")))


@pytest.mark.parametrize("own", [True, False])
def test_error_for_a_cycle_names_all_files(write, own):
    if own:
        path = write('base: "variant.textproto"')
        files = "variant.textproto -> .*/variant.textproto"
    else:
        write('base: "./variant.textproto"', "base.textproto")
        path, files = write(VARIANT), "variant.textproto -> .*/base.textproto -> .*variant.textproto"
    with pytest.raises(ConfigError, match=f"base: a file cannot be its own base, but .*{files}"):
        load_config(path)


def test_errors_in_a_base_name_both_files(write):
    write(BASE.replace("seed", "sed"), "base.textproto")
    with pytest.raises(ConfigError, match=r'variant.textproto: base: .*base.textproto:9: TrainerOptions has no field "sed"'):
        load_config(write(VARIANT))
    write(BASE.replace("batch_size: 4", "batch_size: -4"), "base.textproto")
    with pytest.raises(
        ConfigError, match=r"variant.textproto with base .*base.textproto: train_dataset_options.batch_size: -4"
    ):
        load_config(write(VARIANT))
