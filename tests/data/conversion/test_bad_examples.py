"""Bad images and annotations: the converters report them in one line, or skip, count and remember them."""

import json

import numpy as np
import pytest
from command_line import run_script
from panoptic_fixtures import INFO, read_split, to_rgb, write_coco
from PIL import Image

from data.conversion import conversion, conversion_flags, image_conversion, image_lists
from data.records.schema import DataError
from protos.errors import UserError

_SETTINGS = image_conversion.Settings(INFO)


def _sources(root):
    return image_lists.read_panoptic_json(root / "panoptic.json", root / "images", root / "panoptic").images


def _edit(path, edit):
    content = json.loads(path.read_text())
    edit(content)
    path.write_text(json.dumps(content))


def _names(output_dir):
    return [example.name.decode() for example in read_split(output_dir)]


def _damage_image(root):
    path = root / "images" / "scene_1.png"
    path.write_bytes(path.read_bytes()[:100])
    return "images/scene_1.png is damaged"


def _remove_image(root):
    (root / "images" / "scene_1.png").unlink()
    return "images/scene_1.png does not exist"


def _remove_label(root):
    (root / "panoptic" / "scene_1.png").unlink()
    return "panoptic/scene_1.png does not exist"


def _cut_label(root):
    Image.fromarray(np.zeros((12, 15, 3), np.uint8)).save(root / "panoptic" / "scene_1.png")
    return "panoptic/scene_1.png is 15x12 (width x height)"


def _draw_unlisted(root):
    path = root / "panoptic" / "scene_1.png"
    pixels = np.asarray(Image.open(path)).copy()
    pixels[-1, 2:5] = 0, 1, 0
    Image.fromarray(pixels).save(path)
    return "panoptic/scene_1.png: segment 256 (3 pixels) is not in segments_info"


def _text_id(root):
    _edit(root / "panoptic.json", lambda c: c["annotations"][1]["segments_info"][0].update(id="70001?"))
    return "panoptic/scene_1.png: a segment: id is '70001?', not an integer"


def _unknown_category(root):
    _edit(root / "panoptic.json", lambda c: c["annotations"][1]["segments_info"][0].update(category_id=999))
    return "panoptic/scene_1.png: segment 70001 has category_id 999"


def _other_size(root):
    _edit(root / "panoptic.json", lambda c: c["images"][1].update(width=17))
    return "images/scene_1.png is 16x12 (width x height), but its annotation says 17x12"


_DAMAGES = (
    _damage_image,
    _remove_image,
    _remove_label,
    _cut_label,
    _draw_unlisted,
    _text_id,
    _unknown_category,
    _other_size,
)


@pytest.mark.parametrize("damage", _DAMAGES)
def test_a_bad_example_ends_the_conversion_or_is_skipped(tmp_path, capfd, damage):
    write_coco(tmp_path, 4)
    message = damage(tmp_path)
    with pytest.raises(UserError) as error:
        conversion.convert(_sources(tmp_path), tmp_path / "fail", "val", _SETTINGS, num_shards=2)
    assert message in str(error.value) and "\n" not in str(error.value)
    assert not list((tmp_path / "fail").glob("*.tfrecord")) and not list((tmp_path / "fail").glob(".val*"))
    counts = conversion.convert(_sources(tmp_path), tmp_path / "skip", "val", _SETTINGS, skip_bad=True, num_shards=2)
    assert _names(tmp_path / "skip") == ["scene_0", "scene_2", "scene_3"]
    assert (counts.images, len(counts.skipped), counts.seen) == (3, 1, 4)
    assert f"skipped: {tmp_path}/{message}" in capfd.readouterr().err
    text = conversion_flags.summary("val", counts, tmp_path / "skip", _SETTINGS)
    assert f"  images that were skipped: 1, first: {tmp_path}/{message}" in text


def test_totals_of_a_continued_conversion_include_skipped_images(tmp_path, monkeypatch):
    write_coco(tmp_path, 6)
    _remove_image(tmp_path)
    whole = conversion.convert(_sources(tmp_path), tmp_path / "whole", "val", _SETTINGS, skip_bad=True, num_shards=3)
    convert_image = image_conversion.convert_image

    def failing(source, settings):
        if source.name == "scene_4":
            raise KeyboardInterrupt
        return convert_image(source, settings)

    monkeypatch.setattr(image_conversion, "convert_image", failing)
    with pytest.raises(KeyboardInterrupt):
        conversion.convert(_sources(tmp_path), tmp_path / "out", "val", _SETTINGS, skip_bad=True, num_shards=3)
    monkeypatch.setattr(image_conversion, "convert_image", convert_image)
    assert conversion.convert(_sources(tmp_path), tmp_path / "out", "val", _SETTINGS, skip_bad=True, num_shards=3) == whole


def test_shards_with_skipped_images_are_converted_again_without_skipping(tmp_path):
    write_coco(tmp_path, 6)
    image = tmp_path / "images" / "scene_1.png"
    content = image.read_bytes()
    image.unlink()
    out = tmp_path / "out"
    with pytest.raises(DataError, match="scene_1.png does not exist"):
        conversion.convert(_sources(tmp_path), out, "val", _SETTINGS, num_shards=3)
    # Continue with skipping, and then without.
    assert conversion.convert(_sources(tmp_path), out, "val", _SETTINGS, skip_bad=True, num_shards=3).images == 5
    times = {path.name: path.stat().st_mtime_ns for path in out.glob("*.tfrecord")}
    with pytest.raises(DataError, match="scene_1.png does not exist"):
        conversion.convert(_sources(tmp_path), out, "val", _SETTINGS, num_shards=3)
    image.write_bytes(content)
    counts = conversion.convert(_sources(tmp_path), out, "val", _SETTINGS, num_shards=3)
    assert (counts.images, counts.skipped) == (6, []) and _names(out) == [f"scene_{i}" for i in range(6)]
    changed = {path.name for path in out.glob("*.tfrecord") if path.stat().st_mtime_ns != times[path.name]}
    assert changed == {"val-00000-of-00003.tfrecord"}
    # The log now contains the new counts of the shard.
    assert conversion.convert(_sources(tmp_path), out, "val", _SETTINGS, skip_bad=True, num_shards=3) == counts


def test_no_usable_image_is_an_error(tmp_path):
    write_coco(tmp_path, 2)
    for path in (tmp_path / "images").iterdir():
        path.write_bytes(b"")
    with pytest.raises(DataError, match="val: of 2 images, none can be used; skipped: 2, first: .*scene_0.png is damaged"):
        conversion.convert(_sources(tmp_path), tmp_path / "out", "val", _SETTINGS, skip_bad=True)


def test_empty_annotations_and_single_pixels(tmp_path):
    write_coco(tmp_path, 3)
    _edit(tmp_path / "panoptic.json", lambda c: c["annotations"][2].update(segments_info=[]))
    Image.new("RGB", (16, 12)).save(tmp_path / "panoptic" / "scene_2.png")
    Image.new("RGB", (1, 1), (9, 8, 7)).save(tmp_path / "images" / "scene_0.png")
    Image.fromarray(to_rgb(np.array([[70_000]]))).save(tmp_path / "panoptic" / "scene_0.png")

    def edit(content):
        content["images"][0].update(height=1, width=1)
        content["annotations"][0]["segments_info"] = [{"id": 70_000, "category_id": 119, "area": 1}]

    _edit(tmp_path / "panoptic.json", edit)
    counts = conversion.convert(_sources(tmp_path), tmp_path / "out", "val", _SETTINGS)
    assert _names(tmp_path / "out") == ["scene_0", "scene_1", "scene_2"]
    assert counts.without_segment == ["scene_2"]
    text = conversion_flags.summary("val", counts, tmp_path / "out", _SETTINGS)
    assert "  images without any segment: 1, first: scene_2" in text
    parsed = read_split(tmp_path / "out")
    np.testing.assert_array_equal(parsed[0].panoptic, [[3 * 256]])
    assert not parsed[2].panoptic.any()


def test_the_command_skips_or_fails_with_one_line(tmp_path):
    write_coco(tmp_path, 3)
    _text_id(tmp_path)
    flags = [f"--images_dir={tmp_path}/images", f"--panoptic_json={tmp_path}/panoptic.json", "--split=val"]
    command = ["data/build_panoptic.py", *flags, f"--output_dir={tmp_path}/out"]
    failed = run_script(*command, cwd="/")
    assert failed.returncode == 1 and "Traceback" not in failed.stderr
    assert failed.stderr.splitlines()[-1].startswith(f"error: {tmp_path}/panoptic/scene_1.png: a segment: id is '70001?'")
    done = run_script(*command, "--on_bad_example=SKIP", cwd="/")
    assert done.returncode == 0, done.stderr
    assert "val: 2 images" in done.stdout and "images that were skipped: 1, first" in done.stdout
    assert _names(tmp_path / "out") == ["scene_0", "scene_2"]
