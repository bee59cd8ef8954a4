"""The report on the records of a config: statistics, problems by name, notes and pictures."""

import io
import pathlib
import re
import subprocess
import sys
import types

import numpy as np
import pytest
import tensorflow as tf
from bad_records import write_bad_records
from panoptic_fixtures import INFO, encode, write_records
from PIL import Image

from data import inspect_dataset, records
from data.inspection import scan
from data.inspection.model_view import Sample, target_panoptic
from data.record_index import RecordIndex
from kmax_tf.visualize import segment_color
from protos import descriptions
from protos.config import load_config
from protos.descriptions import ConfigError

_ROOT = pathlib.Path(__file__).resolve().parents[2]
_KINDS = {
    "jpeg": "the image does not decode",
    "jpeg bytes": "the image does not decode",
    "label size": "the label has 2280 bytes",
    "png label size": "the label is (19, 30)",
    "png label": "the label does not decode",
    "label format": "'zip' is not one of png, raw",
    "image size": "image/height and image/width say (30, 20)",
    "class": "class id 9 on 1 pixels",
    "divisor": "panoptic_label_divisor 256",
    "key": "it has no image/encoded",
    "no label": "it has no label",
    "bytes": "is no tf.train.Example",
}


def _config(root, *, train=True, evaluation=False, overrides=()):
    """A config of the files root/train*.tfrecord and root/val*.tfrecord."""
    (root / "toy.textproto").write_text(descriptions.to_text(INFO))
    text = 'model_options { backbone { name: "kmax_resnet50" } max_deeplab {} }\n'
    for wanted, section, pattern in ((train, "train", "train*.tfrecord"), (evaluation, "eval", "val*.tfrecord")):
        if wanted:
            records_text = f"dataset: 'toy.textproto' file_pattern: '{root}/{pattern}' crop_size: [65, 65]"
            text += f"{section}_dataset_options {{ {records_text} }}\n"
    path = root / "config.textproto"
    path.write_text(text)
    return load_config(path, overrides)


def _inspect(root, *, train=True, evaluation=False, overrides=(), **arguments):
    config = _config(root, train=train, evaluation=evaluation, overrides=overrides)
    return inspect_dataset.inspect(config, root / "out", source="config.textproto", num_samples=3, **arguments)


def _write(path, labels, *, names=None, seed=0):
    """Records of panoptic maps with noise as images."""
    rng = np.random.default_rng(seed)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for number, panoptic in enumerate(labels):
            image = encode(rng.integers(0, 256, (*panoptic.shape, 3), dtype=np.uint8))
            name = names[number] if names else f"noise_{seed}_{number}"
            writer.write(records.build_example(image, "png", name, *panoptic.shape, panoptic).SerializeToString())


def _report(root):
    return (root / "out" / "report.md").read_text()


def _cells(report, title):
    """The cells of the first row with this title, in any table."""
    row, *_ = [line for line in report.splitlines() if re.match(rf"\| (\d+ +\| )?{re.escape(title)} +\|", line)]
    return [cell.strip() for cell in row.strip("|").split("|")]


def test_statistics_are_those_of_numpy(tmp_path):
    labels = [
        *write_records(tmp_path / "train-a.tfrecord", 5),
        *write_records(tmp_path / "train-b.tfrecord", 4, seed=1, size=(40, 20)),
    ]
    findings = _inspect(tmp_path)
    counts = findings.scans[0].counts
    assert findings.problems == [] and counts.images == 9
    for c in INFO.classes:
        assert counts.class_pixels[c.id] == sum(int((label // 256 == c.id).sum()) for label in labels)
        assert counts.class_images[c.id] == sum(bool((label // 256 == c.id).any()) for label in labels)
        assert counts.class_segments[c.id] == sum(len(np.unique(label[label // 256 == c.id])) for label in labels)
    void, pixels = sum(int((label < 256).sum()) for label in labels), sum(label.size for label in labels)
    assert (counts.unlabelled_pixels, counts.pixels) == (void, pixels)
    instances = [len(np.unique(label[(label > 256) & (label < 768)])) for label in labels]
    assert counts.instances == instances
    report = _report(tmp_path)
    assert _cells(report, "records read")[1] == "9"
    assert _cells(report, "pixels without a label")[1] == f"{void / pixels:.2%}"
    assert _cells(report, "width x height (min / median / max)")[1] == "20x24 / 32x24 / 32x40"
    assert _cells(report, "label coding")[1].startswith("png: 9; ")
    row = _cells(report, "cat")
    assert row[2:5] == ["thing", str(counts.class_images[1]), str(counts.class_segments[1])]
    assert row[5] == f"{counts.class_pixels[1] / (pixels - void):.3%}"


def test_crowds_tiny_instances_and_gaps(tmp_path):
    label = np.full((24, 24), 3 * 256, np.int32)
    label[:8, :8], label[:3, 10:15], label[12:, :8], label[20:, 20:] = 257, 258 + 2, 2 * 256, 4 * 256
    _write(tmp_path / "train.tfrecord", [label])
    counts = _inspect(tmp_path).scans[0].counts
    assert (counts.instances, counts.segments) == ([2], [4])
    assert (dict(counts.crowds), dict(counts.tiny), counts.gaps) == ({2: 1}, {1: 1}, 1)


def test_every_bad_record_is_named_and_the_others_are_counted(tmp_path):
    write_records(tmp_path / "train-a.tfrecord", 2)
    write_bad_records(tmp_path / "train-b.tfrecord", "none", *_KINDS)
    findings = _inspect(tmp_path)
    assert findings.scans[0].counts.images == 3
    assert len(findings.problems) == len(_KINDS)
    report = _report(tmp_path)
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
    findings = _inspect(tmp_path)
    first, second = findings.problems
    assert first.startswith(f"train: {cut} is cut off in record 3")
    assert second.startswith(f"train: {changed} record 2 (img_0_3): its checksum is wrong")
    assert sorted(findings.scans[0].counts.names) == [f"img_0_{i}" for i in (0, 1, 3)] + [f"img_1_{i}" for i in (0, 1, 2)]


def test_nothing_usable_still_makes_a_report(tmp_path):
    write_bad_records(tmp_path / "train.tfrecord", "jpeg", "class")
    findings = _inspect(tmp_path)
    assert (len(findings.problems), findings.pictures) == (2, [])
    assert not (tmp_path / "out" / "contact_sheet.png").exists()
    assert _cells(_report(tmp_path), "records that can be used")[1] == "0"


def test_repeated_images_and_leakage(tmp_path):
    label = np.full((24, 24), 3 * 256, np.int32)
    _write(tmp_path / "train-a.tfrecord", [label] * 3)
    _write(tmp_path / "train-b.tfrecord", [label], names=["noise_0_1"], seed=5)
    (tmp_path / "val.tfrecord").write_bytes((tmp_path / "train-a.tfrecord").read_bytes())
    _write(tmp_path / "val-b.tfrecord", [label], names=["noise_0_1"], seed=6)
    notes = "\n".join(_inspect(tmp_path, evaluation=True).notes)
    assert "3 of 4 evaluation images are also in the training records (noise_0_0, noise_0_1, noise_0_2)" in notes
    assert "train: 1 image names are there more than once, with other pixels (noise_0_1)" in notes
    assert "train: 3 of 4 classes never occur: cat, dog, road" in notes
    assert _cells(_report(tmp_path), "image names there more than once")[1:] == ["1", "1"]


def test_notes_on_label_conventions(tmp_path):
    shifted = np.zeros((24, 24), np.int32)
    shifted[:6, :6], shifted[10:12] = 256, 3 * 256
    _write(tmp_path / "train.tfrecord", [shifted] * 2)
    notes = "\n".join(_inspect(tmp_path).notes)
    assert "train: 85% of the pixels have no label (class id 0, the ignore_label of toy_panoptic)" in notes
    assert "the last class, id 4, never occurs: if your labels number the classes from 0" in notes
    assert "train: things without any instance: cat. All their segments have instance id 0" in notes
    assert "train: 2 of 4 classes never occur: dog, road" in notes
    assert "86% of the pixels that the model sees are padding" in notes


def test_notes_on_limits_of_the_config(tmp_path):
    label = np.full((640, 640), 3 * 256, np.int32)
    for number in range(9):
        label[40 * number : 40 * number + 20, :50] = 257 + number
    label[-40:] = 0
    _write(tmp_path / "train.tfrecord", [label])
    _write(tmp_path / "val.tfrecord", [np.where(label == 257, 513, label)], seed=1)
    overrides = ("train_dataset_options.max_thing_id=5", "model_options.max_deeplab.num_mask_slots=8")
    notes = "\n".join(_inspect(tmp_path, evaluation=True, overrides=overrides).notes)
    assert "train: 1 images have more instances than max_thing_id = 5 (most: 9 in noise_0_0)" in notes
    assert "train: 1 images have more segments than the model has num_mask_slots = 8 (most: 10 in noise_0_0)" in notes
    assert "a crop of 65x65 shows at most 1% of an image of median size (640x640" in notes
    assert "classes that evaluation has and training never: dog; they cannot be learned" in notes
    assert "eval: 1 images have more instances" not in notes


def test_the_picture_shows_the_targets(tmp_path):
    label = np.full((64, 64), 3 * 256, np.int64)
    label[:, 32:] = 256 + 2
    label[:16] = 0
    sheet = inspect_dataset.contact_sheet([Sample(np.full((64, 64, 3), 90, np.uint8), label, ("a", "b"))], INFO)
    panel, head = inspect_dataset.PANEL, 40 + 2 * inspect_dataset.LINE + inspect_dataset.LINE // 3
    assert sheet.shape[0] == head + panel and sheet.shape[1] > 2 * panel
    # Two pictures with a gap of 6 pixels; the points lie beside the names, which are written in the middle of segments.
    image, labels = sheet[head:, :panel], sheet[head:, panel + 6 : 2 * panel + 6]
    np.testing.assert_array_equal(image, 90)
    classes = INFO.by_id()
    for column, color in ((100, classes[3].color), (400, segment_color(classes[1], 2))):
        np.testing.assert_allclose(labels[400, column], np.rint(0.45 * 90 + 0.55 * np.array(color)), atol=1)
    np.testing.assert_array_equal(np.unique(labels[10:90, 10:430]), [30, 90])


@pytest.mark.parametrize("grey", [0, 20, 63, 64, 128, 255])
def test_void_is_seen_on_any_ground(grey):
    void = np.zeros((64, 64), np.int64)
    sheet = inspect_dataset.contact_sheet([Sample(np.full((64, 64, 3), grey, np.uint8), void, ())], INFO)
    shown = np.unique(sheet[-200:-20, inspect_dataset.PANEL + 26 : 2 * inspect_dataset.PANEL - 20])
    assert len(shown) == 2 and grey in shown and np.ptp(shown.astype(int)) > 40


def test_records_are_read_once(tmp_path, monkeypatch):
    write_records(tmp_path / "val.tfrecord", 3)
    section = inspect_dataset._open(_config(tmp_path, evaluation=True, train=False), "eval")
    read, numbers = RecordIndex.read, []
    monkeypatch.setattr(RecordIndex, "read", lambda index, number: numbers.append(number) or read(index, number))
    assert scan.scan(section).counts.images == 3
    assert sorted(numbers) == [0, 1, 2]


def test_targets_become_a_panoptic_map():
    example = {
        "semantic_gt": np.array([[1, 1, 2, 3, 0]]),
        "thing_id_mask_gt": np.array([[0, 1, -1, -1, -1]]),
        "thing_id_class_gt": np.array([1, 1, -1]),
        "image_name": b"x",
    }
    np.testing.assert_array_equal(target_panoptic(example, INFO), [[257, 258, 512, 768, 0]])
    with pytest.raises(records.DataError, match="x: its targets name two classes"):
        target_panoptic(example | {"thing_id_class_gt": np.array([1, 2, -1])}, INFO)


def test_rows_of_the_sheets_and_statistics_of_what_the_model_sees(tmp_path):
    write_records(tmp_path / "train.tfrecord", 4)
    write_records(tmp_path / "val.tfrecord", 2, seed=1)
    paste = "train_dataset_options.augmentations.panoptic_copy_paste.panoptic_copy_paste_scale=0.5"
    train, evaluation = _inspect(tmp_path, evaluation=True, overrides=(paste,)).views
    row = inspect_dataset.PANEL + 4 * inspect_dataset.LINE + inspect_dataset.LINE // 3
    assert Image.open(tmp_path / "out" / "contact_sheet.png").height == 40 + 3 * row + 2 * 6
    assert Image.open(tmp_path / "out" / "contact_sheet_eval.png").height == 40 + 2 * (row - inspect_dataset.LINE) + 6
    assert (len(train.samples), train.images, len(evaluation.samples), evaluation.images) == (3, 128, 2, 2)
    name, draw, pasted, facts = train.samples[0].caption
    assert re.fullmatch(r"img_0_\d", name) and re.fullmatch(
        r"pasted: img_0_\d, scale 0\.50, crop at x -?\d+, y -?\d+(, flipped)?", pasted
    )
    assert re.fullmatch(r"scale 1\.00, crop at x -?\d+, y -?\d+(, flipped)?", draw)
    panoptic = train.samples[0].panoptic
    void, instances = np.mean(panoptic == 0), len(np.unique(panoptic[panoptic % 256 > 0]))
    assert facts == f"{instances} instances, {void:.0%} without label"
    # 24 x 32 pixels are resized to 48 x 65 at most, the rest of 65 x 65 is padding.
    padded = np.mean([(sample.image == 128).all(-1).mean() for sample in evaluation.samples])
    np.testing.assert_allclose(evaluation.padding / 2, padded, atol=0.01)


def test_limited_records_are_spread_evenly(tmp_path):
    write_records(tmp_path / "train-a.tfrecord", 30)
    write_records(tmp_path / "train-b.tfrecord", 31, seed=1)
    findings = _inspect(tmp_path, max_records=5)
    assert sorted(findings.scans[0].counts.names) == ["img_0_0", "img_0_15", "img_1_0", "img_1_15", "img_1_30"]
    assert _cells(_report(tmp_path), "records read")[1] == "5 of 61 (evenly spread)"


def test_sections(tmp_path):
    write_records(tmp_path / "val.tfrecord", 2)
    findings = _inspect(tmp_path, train=False, evaluation=True)
    assert [scan.section.name for scan in findings.scans] == ["eval"]
    assert (tmp_path / "out" / "contact_sheet_eval.png").exists() and not (tmp_path / "out" / "contact_sheet.png").exists()
    with pytest.raises(ConfigError, match="config.textproto has no train_dataset_options: nothing to inspect"):
        _inspect(tmp_path, train=False, evaluation=True, sections=("train",))
    unlabelled = "eval_dataset_options.decode_groundtruth_label=false"
    findings = _inspect(tmp_path, train=False, evaluation=True, overrides=(unlabelled,))
    assert findings.scans[0].counts.labelled_images == 0 and "## Labels" not in _report(tmp_path)


def test_sources_are_told_apart(tmp_path):
    write_records(tmp_path / "train-a.tfrecord", 2)
    write_records(tmp_path / "pseudo.tfrecord", 3, seed=1)
    config = _config(tmp_path)
    config.train_dataset_options.ClearField("file_pattern")
    for name, weight in (("train-a", 3), ("pseudo", 1)):
        config.train_dataset_options.source.add(file_pattern=[f"{tmp_path}/{name}.tfrecord"], weight=weight)
    findings = inspect_dataset.inspect(config, tmp_path / "out", source="c", num_samples=1)
    assert findings.scans[0].counts.images == 5
    assert _cells(_report(tmp_path), "sources")[1] == "2 records, weight 3; 3 records, weight 1"


@pytest.mark.parametrize(("kind", "code"), [("none", 0), ("jpeg", 1)])
def test_exit_code_and_summary(tmp_path, monkeypatch, capsys, kind, code):
    _config(tmp_path)
    write_bad_records(tmp_path / "train.tfrecord", "none", kind)
    values = {"config_file": str(tmp_path / "config.textproto"), "output_dir": str(tmp_path / "out"), "override": []}
    values |= {"section": "both", "max_records": None, "num_samples": 1, "seed": None}
    monkeypatch.setattr(inspect_dataset.flags, "FLAGS", types.SimpleNamespace(**values))
    assert inspect_dataset.run(["inspect_dataset.py"]) == code
    out, err = capsys.readouterr()
    assert out.startswith(f"train: 2 records, {2 - code} usable, 30x20 pixels\n")
    assert f"\n{code} problem{'s' * (code == 0)}, " in out and "report.md" in out.splitlines()[-1]
    assert (f"problem: train: {tmp_path}/train.tfrecord record 1 (street)" in out) == bool(code)
    assert "train: 2/2 records checked" in err


def test_bad_input_is_one_line(tmp_path):
    """As a user runs it, from another folder."""
    _config(tmp_path)
    command = [sys.executable, str(_ROOT / "data" / "inspect_dataset.py"), "--config_file=config.textproto", "--output_dir=out"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert (result.returncode, result.stdout) == (1, "")
    (line,) = [line for line in result.stderr.splitlines() if line]
    assert line.startswith(f"error: train_dataset_options: file_pattern '{tmp_path}/train*.tfrecord' matches no file")
    assert not (tmp_path / "out").exists()


def test_image_formats_and_orientation(tmp_path):
    label = np.full((24, 24), 3 * 256, np.int32)
    turned = Image.Exif()
    turned[0x0112] = 6
    with tf.io.TFRecordWriter(str(tmp_path / "train.tfrecord")) as writer:
        for number, (mode, exif) in enumerate([("RGB", turned), ("L", Image.Exif()), ("L", Image.Exif())]):
            buffer = io.BytesIO()
            Image.new(mode, (24, 24), 40 * number).save(buffer, "jpeg", exif=exif)
            example = records.build_example(buffer.getvalue(), "jpeg", f"image_{number}", 24, 24, label)
            writer.write(example.SerializeToString())
    findings = _inspect(tmp_path)
    assert _cells(_report(tmp_path), "images")[1] == "JPEG L: 2, JPEG RGB: 1"
    assert any(note.startswith("train: 1 images carry an EXIF orientation") for note in findings.notes)


def test_note_on_instances_that_are_never_told_apart(tmp_path):
    label = np.full((24, 24), 3 * 256, np.int32)
    label[:8, :8] = label[12:20, 12:20] = 257
    _write(tmp_path / "train-a.tfrecord", [label] * 20)
    expected = "train: no image has two instances of one class"
    assert [note for note in _inspect(tmp_path).notes if note.startswith(expected)]
    label[12:20, 12:20] = 258
    _write(tmp_path / "train-b.tfrecord", [label], seed=1)
    assert not [note for note in _inspect(tmp_path).notes if note.startswith(expected)]
