"""Semantic PNGs as labels."""

import pathlib
import time

import numpy as np
import pytest
from PIL import Image

from data.conversion import describe, image_conversion, semantic_files
from data.conversion.class_table import read_class_table
from data.records import schema
from protos import descriptions
from protos.errors import UserError

CLASSES = "0,unlabeled,void,#000000\n7,road,stuff,#804080\n26,car,thing,#00008e\n"
COLORS = {0: (0, 0, 0), 255: (1, 1, 1), 7: (128, 64, 128), 26: (0, 0, 142)}
# Two cars, the second one connected over a corner; the right column has no class.
VALUES = np.array([[7, 7, 7, 255, 0], [26, 7, 26, 26, 0], [26, 7, 26, 7, 0], [26, 7, 7, 26, 0]], np.uint8)
EXPECTED = np.array([[1, 1, 1, 0, 0], [513, 1, 514, 514, 0], [513, 1, 514, 1, 0], [513, 1, 1, 514, 0]])


def _dataset(root, labels, *, classes=CLASSES, ending=""):
    """Writes an image for each label, and lists them."""
    for folder in ("images/day", "labels/day"):
        (root / folder).mkdir(parents=True)
    for name, label in labels.items():
        size = (label.height, label.width) if isinstance(label, Image.Image) else label.shape[:2]
        Image.fromarray(np.zeros((*size, 3), np.uint8)).save(root / "images" / f"{name}.jpg")
        image = label if isinstance(label, Image.Image) else Image.fromarray(label)
        image.save(root / "labels" / f"{name}{ending}.png")
    (root / "classes.csv").write_text(classes)
    table = read_class_table(root / "classes.csv")
    return semantic_files.list_semantic(root / "images", root / "labels", table)


def _panoptic(content):
    """The labels of the records."""
    info = descriptions.from_text(describe.description_text("streets", content, label_divisor=256, where=""), "")
    assert [(c.category_id, c.is_thing) for c in info.classes] == [(7, False), (26, True)]
    settings = image_conversion.Settings(info)
    records = [image_conversion.convert_image(source, settings)[0] for source in content.images]
    return {record.name.decode(): record.panoptic for record in map(schema.decode_record, records)}


def _paletted():
    image = Image.fromarray(VALUES, mode="P")
    image.putpalette([channel for value in range(256) for channel in COLORS.get(value, (9, 9, 9))])
    return image


@pytest.mark.parametrize("ending", ["", "_mask"])
def test_things_are_connected_regions(tmp_path, ending):
    found = _panoptic(_dataset(tmp_path, {"day/a1": VALUES, "day/a12": VALUES, "b": VALUES}, ending=ending))
    assert sorted(found) == ["b", "day/a1", "day/a12"]
    for panoptic in found.values():
        # The divisor is 256: road is class 1, car class 2; cars count from 1.
        np.testing.assert_array_equal(panoptic, np.where(EXPECTED == 1, 256, EXPECTED))


@pytest.mark.parametrize("kind", ["16 bits", "colors", "palette of colors", "palette of values"])
def test_other_kinds_of_pngs(tmp_path, kind):
    classes = CLASSES if "color" in kind else "".join(line.rpartition(",")[0] + "\n" for line in CLASSES.splitlines())
    if "color" in kind:
        classes += "255,border,void,#010101\n"
    label = (
        {
            "16 bits": VALUES.astype(np.uint16),
            "colors": np.array([[COLORS[value] for value in row] for row in VALUES.tolist()], np.uint8),
        }.get(kind)
        if "palette" not in kind
        else _paletted()
    )
    (panoptic,) = _panoptic(_dataset(tmp_path, {"a": label}, classes=classes)).values()
    np.testing.assert_array_equal(panoptic, np.where(EXPECTED == 1, 256, EXPECTED))


@pytest.mark.parametrize(
    ("label", "classes", "message"),
    [
        (VALUES + 1, "1,road\n8,sky\n27,car\n", r"a.png contains class 0 \(1 pixel\), but .*classes.csv lists 1, 8, 27"),
        (VALUES, "0,road\n7,sky\n", r"a.png contains class 26 \(\d pixels\), but .*classes.csv lists 0, 7: add it there"),
        (
            np.zeros((4, 4, 3), np.uint8),
            "0,road\n",
            "a.png is a PNG of mode RGB, but a label in --semantic_dir is no photograph",
        ),
        (np.full((4, 4, 3), 9, np.uint8), CLASSES, "a.png contains colors that are not in .*classes.csv: #090909: add them"),
    ],
)
def test_values_that_the_table_does_not_list(tmp_path, label, classes, message):
    content = _dataset(tmp_path, {"a": label}, classes=classes)
    info = descriptions.from_text(describe.description_text("streets", content, where=""), "")
    with pytest.raises(UserError, match=message):
        image_conversion.convert_image(content.images[0], image_conversion.Settings(info))


def test_images_and_labels_that_do_not_belong_together(tmp_path, capsys):
    content = _dataset(tmp_path, {"a": VALUES, "b": VALUES, "c": VALUES})
    table = content.images[0].table
    (tmp_path / "labels" / "b.png").unlink()
    (tmp_path / "images" / "c.jpg").unlink()
    listed = semantic_files.list_semantic(tmp_path / "images", tmp_path / "labels", table)
    assert [bool(image.check()) for image in listed.images] == [False, True]
    assert "images/b.jpg: has no label" in listed.images[1].check()
    assert "labels without an image are not used: 1, first: c.png" in capsys.readouterr().err
    with pytest.raises(UserError, match="contains no PNG .it contains a.jpg.*were --images_dir and --semantic_dir swapped"):
        semantic_files.list_semantic(tmp_path / "labels", tmp_path / "images", table)
    (tmp_path / "labels" / "a.png").rename(tmp_path / "labels" / "z.png")
    (tmp_path / "labels" / "c.png").unlink()
    with pytest.raises(
        UserError, match="none of the 2 images in .* has a label in .*: the first image is a.jpg, the first label z"
    ):
        semantic_files.list_semantic(tmp_path / "images", tmp_path / "labels", table)


def test_images_and_masks_in_one_folder(tmp_path):
    Image.fromarray(np.zeros((4, 5, 3), np.uint8)).save(tmp_path / "a.jpg")
    Image.fromarray(VALUES).save(tmp_path / "a_mask.png")
    (tmp_path / "classes.csv").write_text(CLASSES.replace("#", " #"))
    content = semantic_files.list_semantic(tmp_path, tmp_path, read_class_table(tmp_path / "classes.csv"))
    assert [(image.name, image.label_path.name) for image in content.images] == [("a", "a_mask.png")]
    (tmp_path / "a.jpg").unlink()
    with pytest.raises(UserError, match="--images_dir=.* has only the PNGs of --semantic_dir: separate images and labels"):
        semantic_files.list_semantic(tmp_path, tmp_path, read_class_table(tmp_path / "classes.csv"))


def test_labels_in_a_folder_of_the_images(tmp_path, monkeypatch):
    (tmp_path / "labels").mkdir()
    Image.fromarray(VALUES).convert("RGB").save(tmp_path / "a.png")
    Image.fromarray(VALUES).save(tmp_path / "labels" / "a.png")
    (tmp_path / "classes.csv").write_text(CLASSES)
    monkeypatch.chdir(tmp_path)
    table = read_class_table(tmp_path / "classes.csv")
    for images in (tmp_path, pathlib.Path()):
        (image,) = semantic_files.list_semantic(images, tmp_path / "labels", table).images
        assert (image.name, image.label_path, image.problem) == ("a", tmp_path / "labels" / "a.png", "")


def test_many_labels_are_paired_fast(tmp_path):
    numbers = [f"{number:06d}" for number in range(20_000)]
    started = time.process_time()
    ending = semantic_files._common_ending(numbers, {f"{number}_mask": tmp_path for number in numbers})
    assert ending == "_mask"
    assert time.process_time() - started < 10
