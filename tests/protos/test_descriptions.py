import dataclasses
import pathlib

import pytest

from protos import descriptions
from protos.config import config_to_text, load_config
from protos.descriptions import ConfigError

PETS = """
name: "pets" panoptic_label_divisor: 256 ignore_label: 0
classes { id: 1 name: "cat" is_thing: true }
"""
CONFIG = """
experiment_name: "x"
model_options { backbone { name: "kmax_resnet50" } max_deeplab { num_decoders: [1, 0, 0] } }
train_dataset_options { dataset: "DESCRIPTION" file_pattern: "x" crop_size: [65, 65] }
"""


def resolve(folder, name, text):
    """The resolved config of a dataset whose description is in a file with this name."""
    description = folder / f"{name}.textproto"
    description.write_text(text.replace('"pets"', f'"{name}"'))
    config = folder / "config.textproto"
    config.write_text(CONFIG.replace("DESCRIPTION", str(description)))
    return load_config(config)


def parsed(text):
    return descriptions.from_text(text, "text")


@pytest.mark.parametrize("name", ["coco_panoptic", "cityscapes_panoptic", "ade20k_panoptic", "scenes_panoptic"])
def test_shipped_descriptions_round_trip_through_text(name):
    info = descriptions.load(name)
    assert parsed(descriptions.to_text(info)) == info
    assert info.converter == f"data/build_{name.removesuffix('_panoptic')}.py"
    assert (descriptions.DESCRIPTIONS_DIR.parents[1] / info.converter).is_file()


def test_text_of_a_description_keeps_the_model_defaults():
    info = parsed(PETS + "model_defaults { max_deeplab { num_mask_slots: 40 } } converter: 'my_tools/convert.py'")
    again = parsed(descriptions.to_text(info))
    assert again.model_defaults.max_deeplab.num_mask_slots == 40
    assert again.converter == "my_tools/convert.py"
    other_classes = dataclasses.replace(info, classes=descriptions.load("coco_panoptic").classes)
    assert "num_mask_slots: 40" in descriptions.to_text(other_classes)


def test_converter_defaults_to_the_general_one():
    assert parsed(PETS).converter == "data/build_panoptic.py"
    assert "converter" not in descriptions.to_text(parsed(PETS))


def test_misspelt_field_of_a_description_is_named_with_its_line():
    with pytest.raises(ConfigError, match='^text:1: DatasetDescription has no field "nam"; did you mean "name"'):
        parsed('nam: "pets"')


def test_dataset_and_class_names_do_not_affect_the_network(tmp_path):
    names = ("mystreets", "mycityscapes", "cityscapes_panoptic_subset", "ade20k")
    texts = {config_to_text(resolve(tmp_path, name, PETS)).replace(f"/{name}.textproto", "") for name in names}
    assert len(texts) == 1
    assert "num_mask_slots: 128" in texts.pop()


def test_model_defaults_apply_to_fields_that_the_config_leaves_unset(tmp_path):
    model = resolve(tmp_path, "pets", PETS + "model_defaults { pixel_decoder { channels: [64, 32, 16, 16, 8] } }").model_options
    assert list(model.pixel_decoder.channels) == [64, 32, 16, 16, 8]
    assert list(model.pixel_decoder.num_blocks) == [1, 5, 1, 1, 1]
    assert list(model.max_deeplab.num_decoders) == [1, 0, 0]


@pytest.mark.parametrize("text", [PETS.replace("256", "2147483647"), PETS.replace("256", "1073741825")])
def test_panoptic_ids_must_fit_into_32_bits(text):
    with pytest.raises(ConfigError, match="panoptic_label_divisor .* gives panoptic ids up to .* do not fit into 32 bits"):
        parsed(text)
    assert parsed(PETS.replace("256", "1073741824")).void_label == 0


def test_error_for_an_invalid_model_default_names_field_and_file(tmp_path):
    with pytest.raises(ConfigError, match=r"pets.textproto: model_defaults.max_deeplab.num_mask_slots: 0 must be at least 1"):
        resolve(tmp_path, "pets", PETS + "model_defaults { max_deeplab { num_mask_slots: 0 } }")


def test_a_misspelt_description_is_looked_for_and_compared_with_its_neighbours(tmp_path):
    (tmp_path / "mine.textproto").write_text("")
    (tmp_path / "config.textproto").write_text("")
    with pytest.raises(ConfigError) as error:
        descriptions.find("mina.textproto", relative_to=tmp_path)
    assert f"(looked for {tmp_path}/mina.textproto and {pathlib.Path.cwd()}/mina.textproto)" in str(error.value)
    assert str(error.value).endswith(f'; did you mean "{tmp_path}/mine.textproto"?')
    with pytest.raises(ConfigError, match='; did you mean "coco_panoptic"'):
        descriptions.find("coco_panoptics", relative_to=tmp_path)
