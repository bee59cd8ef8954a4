"""The statistics, notes and problems of the inspection, compared with NumPy."""

import io

import numpy as np
import tensorflow as tf
from bad_records import write_bad_records
from inspection_runs import cells, report_of, run_inspection, small_config, write_labels
from panoptic_fixtures import INFO, write_records
from PIL import Image

from data import inspect_dataset
from data.records import schema
from protos import descriptions

_KINDS = {
    "jpeg": "the image does not decode",
    "jpeg bytes": "the image does not decode",
    "label size": "the label has 2280 bytes",
    "png label size": "the label is (19, 30)",
    "png label": "the label does not decode",
    "label format": "'zip' is not one of png, raw",
    "image size": "image/height and image/width are (30, 20)",
    "class": "class id 9 on 1 pixels",
    "divisor": "panoptic_label_divisor 256",
    "key": "the record has no image/encoded",
    "no label": "the record has no label",
    "bytes": "the record is not a tf.train.Example",
}


def test_statistics_agree_with_numpy(tmp_path):
    labels = [
        *write_records(tmp_path / "train-a.tfrecord", 5),
        *write_records(tmp_path / "train-b.tfrecord", 4, seed=1, size=(40, 20)),
    ]
    findings = run_inspection(tmp_path)
    counts = findings.sections[0].counts
    assert findings.problems == [] and len(counts.images) == 9
    for c in INFO.classes:
        assert counts.class_pixels[c.id] == sum(int((label // 256 == c.id).sum()) for label in labels)
        assert counts.class_images[c.id] == sum(bool((label // 256 == c.id).any()) for label in labels)
        assert counts.class_segments[c.id] == sum(len(np.unique(label[label // 256 == c.id])) for label in labels)
    void, pixels = sum(int((label < 256).sum()) for label in labels), sum(label.size for label in labels)
    assert (counts.unlabeled_share, counts.pixels) == (void / pixels, pixels)
    instances = [len(np.unique(label[(label > 256) & (label < 768)])) for label in labels]
    assert counts.instances.tolist() == instances
    report = report_of(tmp_path)
    assert cells(report, "records read")[1] == "9"
    assert cells(report, "unlabeled pixels")[1] == f"{void / pixels:.2%}"
    assert cells(report, "width x height (min / median / max)")[1] == "20x24 / 32x24 / 32x40"
    assert cells(report, "label encoding")[1].startswith("png: 9; ")
    row = cells(report, "cat")
    assert row[2:5] == ["thing", str(counts.class_images[1]), str(counts.class_segments[1])]
    assert row[5] == f"{counts.class_pixels[1] / (pixels - void):.3%}"


def test_crowds_and_tiny_instances(tmp_path):
    label = np.full((24, 24), 3 * 256, np.int32)
    label[:8, :8], label[:3, 10:15], label[12:, :8], label[20:, 20:] = 257, 258 + 2, 2 * 256, 4 * 256
    write_labels(tmp_path / "train.tfrecord", [label])
    counts = run_inspection(tmp_path).sections[0].counts
    assert (counts.instances.tolist(), counts.segments.tolist()) == ([2], [4])
    assert (counts.crowds.tolist(), counts.tiny.tolist()) == ([0, 0, 1, 0, 0], [0, 1, 0, 0, 0])


def test_every_bad_record_is_reported_and_the_others_are_counted(tmp_path):
    write_records(tmp_path / "train-a.tfrecord", 2)
    write_bad_records(tmp_path / "train-b.tfrecord", "none", *_KINDS)
    findings = run_inspection(tmp_path)
    assert len(findings.sections[0].counts.images) == 3
    assert len(findings.problems) == len(_KINDS)
    report = report_of(tmp_path)
    listed = (tmp_path / "out" / "problems.txt").read_text().splitlines()
    for number, (kind, problem) in enumerate(_KINDS.items(), start=1):
        name = "name unknown" if kind == "bytes" else "street"
        start = f"train: {tmp_path}/train-b.tfrecord record {number} ({name}): "
        assert [line for line in listed if line.startswith(start) and problem in line], kind
        assert f"* {start}" in report
    assert "12 problems" in report and Image.open(tmp_path / "out" / "contact_sheet.png").width


def test_changed_bytes_and_truncated_files_are_found(tmp_path):
    for name, seed in (("train-a", 0), ("train-b", 1)):
        write_records(tmp_path / f"{name}.tfrecord", 4, seed=seed)
    changed, cut = tmp_path / "train-a.tfrecord", tmp_path / "train-b.tfrecord"
    content = bytearray(changed.read_bytes())
    place = content.index(b"img_0_2") + len("img_0_")
    content[place] ^= 1
    changed.write_bytes(content)
    cut.write_bytes(cut.read_bytes()[:-9])
    findings = run_inspection(tmp_path)
    first, second = findings.problems
    assert first.startswith(f"train: {cut} is truncated in record 3")
    assert second.startswith(f"train: {changed} record 2 (img_0_3): its checksum is wrong")
    assert sorted(findings.sections[0].counts.names) == [f"img_0_{i}" for i in (0, 1, 3)] + [f"img_1_{i}" for i in (0, 1, 2)]


def test_a_report_is_written_without_usable_records(tmp_path):
    write_bad_records(tmp_path / "train.tfrecord", "jpeg", "class")
    findings = run_inspection(tmp_path)
    assert (len(findings.problems), findings.pictures) == (2, [])
    assert not (tmp_path / "out" / "contact_sheet.png").exists()
    assert cells(report_of(tmp_path), "records that can be used")[1] == "0"


def test_repeated_images_and_leakage(tmp_path):
    label = np.full((24, 24), 3 * 256, np.int32)
    write_labels(tmp_path / "train-a.tfrecord", [label] * 3)
    write_labels(tmp_path / "train-b.tfrecord", [label], names=["noise_0_1"], seed=5)
    (tmp_path / "val.tfrecord").write_bytes((tmp_path / "train-a.tfrecord").read_bytes())
    write_labels(tmp_path / "val-b.tfrecord", [label], names=["noise_0_1"], seed=6)
    notes = "\n".join(run_inspection(tmp_path, evaluation=True).notes)
    assert "evaluation images that are also in the training records: 3 of 4 (noise_0_0, noise_0_1, noise_0_2)" in notes
    assert "train: image names that occur more than once, with different pixels: 1 (noise_0_1)" in notes
    assert "train: classes that never occur: 3 of 4: cat, dog, road" in notes
    assert cells(report_of(tmp_path), "repeated image names")[1:] == ["1", "1"]


def test_notes_on_label_conventions(tmp_path):
    shifted = np.zeros((24, 24), np.int32)
    shifted[:6, :6], shifted[10:12] = 256, 3 * 256
    write_labels(tmp_path / "train.tfrecord", [shifted] * 2)
    notes = "\n".join(run_inspection(tmp_path).notes)
    assert "train: 85% of the pixels have no label (class id 0, the ignore_label of toy_panoptic)" in notes
    assert "predicts one of the classes there; if they show a background, make it a class of stuff" in notes
    assert "the last class, id 4, never occurs: if your labels number the classes from 0" in notes
    assert "train: things without any instance: cat. All their segments have instance id 0" in notes
    assert "train: classes that never occur: 2 of 4: dog, road" in notes
    assert "train: 86% of the input is padding, without augmentation: raise min_resize_value" in notes


def test_notes_on_limits_of_the_config(tmp_path):
    label = np.full((640, 640), 3 * 256, np.int32)
    for number in range(9):
        label[40 * number : 40 * number + 20, :50] = 257 + number
    label[-40:] = 0
    write_labels(tmp_path / "train.tfrecord", [label])
    write_labels(tmp_path / "val.tfrecord", [np.where(label == 257, 513, label)], seed=1)
    overrides = ("train_dataset_options.max_thing_id=5", "model_options.max_deeplab.num_mask_slots=8")
    notes = "\n".join(run_inspection(tmp_path, evaluation=True, overrides=overrides).notes)
    assert "train: images with more instances than max_thing_id = 5: 1 (most: 9 in noise_0_0)" in notes
    assert "train: images with more segments than num_mask_slots = 8: 1 (most: 10 in noise_0_0)" in notes
    assert "a crop of 65x65 shows at most 1% of an image of median size (640x640" in notes
    assert "classes that occur in evaluation but not in training: dog; they cannot be learned" in notes
    assert "eval: images with more instances" not in notes


def test_limited_records_are_evenly_spaced(tmp_path):
    write_records(tmp_path / "train-a.tfrecord", 30)
    write_records(tmp_path / "train-b.tfrecord", 31, seed=1)
    findings = run_inspection(tmp_path, max_records=5)
    assert sorted(findings.sections[0].counts.names) == ["img_0_0", "img_0_15", "img_1_0", "img_1_15", "img_1_30"]
    assert cells(report_of(tmp_path), "records read")[1] == "5 of 61 (evenly spaced)"


def test_image_formats_and_orientation(tmp_path):
    label = np.full((24, 24), 3 * 256, np.int32)
    rotated = Image.Exif()
    rotated[0x0112] = 6
    with tf.io.TFRecordWriter(str(tmp_path / "train.tfrecord")) as writer:
        for number, (mode, exif) in enumerate([("RGB", rotated), ("L", Image.Exif()), ("L", Image.Exif())]):
            buffer = io.BytesIO()
            Image.new(mode, (24, 24), 40 * number).save(buffer, "jpeg", exif=exif)
            example = schema.build_example(buffer.getvalue(), "jpeg", f"image_{number}", 24, 24, label)
            writer.write(example.SerializeToString())
    findings = run_inspection(tmp_path)
    assert cells(report_of(tmp_path), "images")[1] == "JPEG L: 2, JPEG RGB: 1"
    assert any(note.startswith("train: images with an EXIF orientation") for note in findings.notes)


def test_note_on_classes_with_one_instance_per_image(tmp_path):
    label = np.full((24, 24), 3 * 256, np.int32)
    label[:8, :8] = label[12:20, 12:20] = 257
    write_labels(tmp_path / "train-a.tfrecord", [label] * 20)
    expected = "train: no image has two instances of one class"
    assert [note for note in run_inspection(tmp_path).notes if note.startswith(expected)]
    label[12:20, 12:20] = 258
    write_labels(tmp_path / "train-b.tfrecord", [label], seed=1)
    assert not [note for note in run_inspection(tmp_path).notes if note.startswith(expected)]


def test_sizes_in_the_input_and_segments_that_evaluation_removes(tmp_path):
    """Images of 24x32 pixels are enlarged to 49x65 in evaluation, but not in training."""
    panoptics = write_records(tmp_path / "val.tfrecord", 12)
    write_records(tmp_path / "train.tfrecord", 3, seed=1)
    limits = ("evaluator_options.thing_area_limit=200", "evaluator_options.stuff_area_limit=700")
    limits += ("eval_dataset_options.min_resize_value=65",)
    findings = run_inspection(tmp_path, evaluation=True, overrides=(*limits, "train_dataset_options.batch_size=4"))
    areas, factor = [[] for _ in range(5)], 49 * 65 / (24 * 32)
    for panoptic in panoptics:
        for label, area in zip(*np.unique(panoptic, return_counts=True)):
            areas[label // 256].append(area * factor)
    sizes = findings.sizes[1]
    np.testing.assert_allclose(sizes.median_area[1:], [np.median(found) for found in areas[1:]])
    below = [sum(area < (200 if k < 3 else 700) for area in found) for k, found in enumerate(areas)]
    assert sizes.below_limit.tolist() == [0, *below[1:]] and sizes.segments.tolist() == [0, *map(len, areas[1:])]
    rows = [line for line in report_of(tmp_path).splitlines() if "| cat " in line]
    assert [cell.strip() for cell in rows[1].split("|")][-3:-1] == [f"{np.median(areas[1]):.0f}", str(below[1])]
    notes = "\n".join(findings.notes)
    assert "eval: segments that are smaller than thing_area_limit" in notes and f"cat {below[1]} of {len(areas[1])}" in notes
    assert "objects are 2.0x larger in evaluation (images are scaled by 2.04) than in training (by 1.00 and 1 to 1)" in notes
    assert "train: batch_size = 4 is more than the 3 records" in notes
    # The smallest crop for 49x65 pixels is 65x65.
    assert "eval: 25% of the input is padding" not in notes


def test_a_crop_of_the_shape_of_the_images_is_named(tmp_path):
    write_records(tmp_path / "val.tfrecord", 2, size=(32, 64))
    notes = "\n".join(run_inspection(tmp_path, train=False, evaluation=True).notes)
    assert "eval: 52% of the input is padding, without augmentation: crop_size: [33, 65] fits the images (5% padding)" in notes


def test_padding_of_images_of_different_shapes_is_not_noted(tmp_path):
    """Each image fills the width or the height of the crop; no other crop has less padding."""
    write_records(tmp_path / "val-a.tfrecord", 2, size=(20, 64))
    write_records(tmp_path / "val-b.tfrecord", 2, size=(64, 20), seed=1)
    fitted = ("eval_dataset_options.min_resize_value=65", "eval_dataset_options.max_resize_value=65")
    findings = run_inspection(tmp_path, train=False, evaluation=True, overrides=fitted)
    assert findings.sizes[-1].padding((65, 65)) > 0.6
    notes = "\n".join(findings.notes)
    assert "padding" not in notes
    assert "eval: 4 images to evaluate on: their scores change by chance" in notes


def test_void_of_sources_absent_classes_and_colors(tmp_path):
    label = np.full((24, 24), 3 * 256, np.int32)
    label[:12] = 257
    write_labels(tmp_path / "train-a.tfrecord", [label] * 3)
    write_labels(tmp_path / "train-b.tfrecord", [np.where(label == 257, 0, label)], seed=1)
    write_labels(tmp_path / "val.tfrecord", [np.full((24, 24), 3 * 256, np.int32)], seed=2)
    config = small_config(tmp_path, evaluation=True)
    config.train_dataset_options.ClearField("file_pattern")
    for name in "ab":
        config.train_dataset_options.source.add(file_pattern=[f"{tmp_path}/train-{name}.tfrecord"])
    black = tmp_path / "black.textproto"
    black.write_text(descriptions.to_text(INFO).replace("color: 255\n", "color: 0\n"))
    for section in (config.train_dataset_options, config.eval_dataset_options):
        section.dataset = str(black)
    findings = inspect_dataset.inspect(config, tmp_path / "out", source="c", num_samples=1)
    assert findings.sections[0].counts.unlabeled_of_source == {0: 0.0, 1: 0.5}
    notes = "\n".join(findings.notes)
    assert "the share of pixels without a label differs among the sources: 0% in source 0, 50% in source 1" in notes
    assert "classes that occur in training but not in evaluation: cat; nothing says how well they are learned" in notes
    assert "classes that are drawn in black, like pixels without a class: cat, dog, sky, road: set color in toy" in notes
    assert "classes with the same color: cat, dog, sky, road" in notes
