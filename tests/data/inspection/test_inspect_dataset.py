"""Pictures of what the model sees, and the command."""

import re

import numpy as np
import pytest
from bad_records import write_bad_records
from command_line import run_script
from inspection_runs import cells, report_of, run_inspection, small_config
from panoptic_fixtures import INFO, write_records
from PIL import Image

from data import inspect_dataset
from data.inspection import model_view, scan
from data.inspection.model_view import Sample, target_panoptic
from data.records.record_index import RecordIndex
from kmax_tf.drawing.colors import segment_color
from protos.descriptions import ConfigError
from protos.errors import UserError


def test_the_picture_shows_the_targets(tmp_path):
    label = np.full((64, 64), 3 * 256, np.int64)
    label[:, 32:] = 256 + 2
    label[:16] = 0
    (sheet,) = model_view.contact_sheets([Sample(np.full((64, 64, 3), 90, np.uint8), label, ("a", "b"))], INFO)
    panel, head = model_view.PANEL, 40 + 2 * model_view.LINE + model_view.LINE // 3
    assert sheet.shape[0] == head + panel and sheet.shape[1] > 2 * panel
    # Two pictures with a gap of 6 pixels; names are written in the middle of segments, away from the tested pixels.
    image, labels = sheet[head:, :panel], sheet[head:, panel + 6 : 2 * panel + 6]
    np.testing.assert_array_equal(image, 90)
    classes = INFO.by_id()
    for column, color in ((70, classes[3].color), (270, segment_color(classes[1], 2))):
        np.testing.assert_allclose(labels[270, column], np.rint(0.45 * 90 + 0.55 * np.array(color)), atol=1)
    np.testing.assert_array_equal(np.unique(labels[10:60, 10:290]), [30, 90])


@pytest.mark.parametrize("gray", [0, 20, 63, 64, 128, 255])
def test_void_is_visible_on_any_background(gray):
    void = np.zeros((64, 64), np.int64)
    (sheet,) = model_view.contact_sheets([Sample(np.full((64, 64, 3), gray, np.uint8), void, ())], INFO)
    shown = np.unique(sheet[-200:-20, model_view.PANEL + 26 : 2 * model_view.PANEL - 20])
    assert len(shown) == 2 and gray in shown and np.ptp(shown.astype(int)) > 40


def test_records_are_read_once(tmp_path, monkeypatch):
    write_records(tmp_path / "val.tfrecord", 3)
    config = small_config(tmp_path, evaluation=True, train=False)
    section = scan.open_section("eval", config.eval_dataset_options, INFO)
    read, numbers = RecordIndex.read, []
    monkeypatch.setattr(RecordIndex, "read", lambda index, number: numbers.append(number) or read(index, number))
    scan.scan(section)
    assert len(section.counts.images) == 3
    assert sorted(numbers) == [0, 1, 2]


def test_targets_become_a_panoptic_map():
    example = {
        "semantic_gt": np.array([[1, 1, 2, 3, 0]]),
        "thing_id_mask_gt": np.array([[0, 1, -1, -1, -1]]),
        "thing_id_class_gt": np.array([1, 1, -1]),
        "image_name": b"x",
    }
    np.testing.assert_array_equal(target_panoptic(example, INFO), [[257, 258, 512, 768, 0]])


def test_sheets_and_statistics_of_the_model_view(tmp_path):
    write_records(tmp_path / "train.tfrecord", 4)
    write_records(tmp_path / "val.tfrecord", 2, seed=1)
    paste = "train_dataset_options.augmentations.panoptic_copy_paste.panoptic_copy_paste_scale=0.5"
    train, evaluation = run_inspection(tmp_path, evaluation=True, overrides=(paste,)).views
    row = model_view.PANEL + 4 * model_view.LINE + model_view.LINE // 3
    # Two images in a row.
    assert Image.open(tmp_path / "out" / "contact_sheet.png").height == 40 + 2 * row + 6
    assert Image.open(tmp_path / "out" / "contact_sheet_eval.png").height == 40 + row - model_view.LINE
    assert (len(train.samples), train.images, len(evaluation.samples), evaluation.images) == (3, 128, 2, 2)
    name, draw, pasted, facts = train.samples[0].caption
    assert re.fullmatch(r"img_0_\d", name) and re.fullmatch(
        r"pasted: img_0_\d, scale 0\.50, crop at x -?\d+, y -?\d+(, flipped)?", pasted
    )
    assert re.fullmatch(r"scale 1\.00, crop at x -?\d+, y -?\d+(, flipped)?", draw)
    panoptic = train.samples[0].panoptic
    void, instances = np.mean(panoptic == 0), len(np.unique(panoptic[panoptic % 256 > 0]))
    assert facts == f"{instances} instance{'s' * (instances != 1)}, {void:.0%} unlabeled"
    # 24 x 32 pixels are resized to 48 x 65; the rest of 65 x 65 is padding.
    padded = np.mean([(sample.image == 128).all(-1).mean() for sample in evaluation.samples])
    np.testing.assert_allclose(evaluation.padding / 2, padded, atol=0.01)


def test_many_samples_fill_pages_that_a_screen_shows(tmp_path):
    samples = [Sample(np.full((48, 64, 3), 9, np.uint8), np.full((48, 64), 768, np.int64), ("a", "b", "c"))] * 13
    pages = list(model_view.contact_sheets(samples, INFO))
    assert len(pages) == 3 and all(page.shape[0] <= 1080 and page.shape[1] <= 1920 for page in pages)
    assert pages[0].shape[0] > 2 * pages[2].shape[0]


def test_pages_of_an_earlier_inspection_are_replaced_and_evaluation_images_are_spread(tmp_path):
    write_records(tmp_path / "val.tfrecord", 41, seed=1)
    config = small_config(tmp_path, train=False, evaluation=True)
    findings = inspect_dataset.inspect(config, tmp_path / "out", source="c", num_samples=9)
    sheets = [name for _, name in findings.pictures if name.startswith("contact_sheet_eval")]
    assert sheets == ["contact_sheet_eval.png", "contact_sheet_eval_2.png"]
    assert [sample.caption[0] for sample in findings.views[0].samples] == [f"img_1_{number}" for number in range(0, 41, 5)]
    inspect_dataset.inspect(config, tmp_path / "out", source="c", num_samples=2)
    assert [path.name for path in (tmp_path / "out").glob("contact_sheet*")] == ["contact_sheet_eval.png"]


def test_sections(tmp_path):
    write_records(tmp_path / "val.tfrecord", 2)
    findings = run_inspection(tmp_path, train=False, evaluation=True)
    assert [section.name for section in findings.sections] == ["eval"]
    assert (tmp_path / "out" / "contact_sheet_eval.png").exists() and not (tmp_path / "out" / "contact_sheet.png").exists()
    with pytest.raises(ConfigError, match="config.textproto has no train_dataset_options: nothing to inspect"):
        run_inspection(tmp_path, train=False, evaluation=True, sections=("train",))
    unlabeled = "eval_dataset_options.decode_groundtruth_label=false"
    findings = run_inspection(tmp_path, train=False, evaluation=True, overrides=(unlabeled,))
    assert not findings.sections[0].counts.labeled and "## Labels" not in report_of(tmp_path)


def test_sources_are_listed(tmp_path):
    write_records(tmp_path / "train-a.tfrecord", 2)
    write_records(tmp_path / "pseudo.tfrecord", 3, seed=1)
    config = small_config(tmp_path)
    config.train_dataset_options.ClearField("file_pattern")
    for name, weight in (("train-a", 3), ("pseudo", 1)):
        config.train_dataset_options.source.add(file_pattern=[f"{tmp_path}/{name}.tfrecord"], weight=weight)
    findings = inspect_dataset.inspect(config, tmp_path / "out", source="c", num_samples=1)
    assert len(findings.sections[0].counts.images) == 5
    assert cells(report_of(tmp_path), "sources")[1] == "2 records, weight 3; 3 records, weight 1"


@pytest.mark.parametrize(("kind", "code"), [("none", 0), ("jpeg", 1)])
def test_exit_code_and_summary(tmp_path, kind, code):
    small_config(tmp_path)
    write_bad_records(tmp_path / "train.tfrecord", "none", kind)
    done = _run(tmp_path, "--num_samples=1")
    assert done.returncode == code
    assert done.stdout.startswith(f"train: 2 records read, {2 - code} usable, 30x20 pixels\n")
    assert f"\n{code} problem{'s' * (code == 0)}, " in done.stdout and "report.md" in done.stdout.splitlines()[-1]
    assert (f"problem: train: {tmp_path}/train.tfrecord record 1 (street)" in done.stdout) == bool(code)
    assert "train: 2/2 records checked" in done.stderr


def _run(folder, *arguments):
    """Runs the command like a user, in another folder."""
    return run_script("data/inspect_dataset.py", "--config_file=config.textproto", "--output_dir=out", *arguments, cwd=folder)


@pytest.mark.parametrize("name", ["report.md", "contact_sheet.png", "problems.txt"])
def test_other_files_are_not_replaced(tmp_path, name):
    write_records(tmp_path / "train.tfrecord", 2)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / name).write_text("# mine")
    with pytest.raises(UserError, match=f"{name}, which is not from an earlier inspection"):
        run_inspection(tmp_path)
    assert (tmp_path / "out" / name).read_text() == "# mine"


def test_earlier_reports_are_replaced(tmp_path):
    write_records(tmp_path / "train.tfrecord", 2)
    run_inspection(tmp_path)
    (tmp_path / "out" / "problems.txt").write_text("of the earlier inspection")
    run_inspection(tmp_path)
    assert "**0 problems" in report_of(tmp_path) and not (tmp_path / "out" / "problems.txt").exists()


def test_bad_input_is_reported_in_one_line(tmp_path):
    small_config(tmp_path)
    result = _run(tmp_path)
    assert (result.returncode, result.stdout) == (1, "")
    (line,) = [line for line in result.stderr.splitlines() if line]
    assert line.startswith(f"error: train_dataset_options: file_pattern '{tmp_path}/train*.tfrecord' matches no file")
    assert not (tmp_path / "out").exists()
