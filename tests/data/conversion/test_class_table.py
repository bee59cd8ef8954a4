"""The table of classes of semantic PNGs."""

import pytest

from data.conversion.class_table import read_class_table
from kmax_tf.coco_panoptic.categories import Category
from protos.errors import UserError


def _read(tmp_path, text):
    path = tmp_path / "classes.csv"
    path.write_text(text)
    return read_class_table(path)


def test_values_names_kinds_and_colors(tmp_path):
    table = _read(
        tmp_path, '# ours\n\n0, unlabeled, void, #000000\n7,road,,128 64 128\n26,"car, parked",THING,#00008e\n9,sky\n'
    )
    assert table.categories == (
        Category(7, "road", False, [128, 64, 128]),
        Category(26, "car, parked", True, [0, 0, 142]),
        Category(9, "sky", False, None),
    )
    assert table.void == {0}
    assert table.colors == {0: 0, 128 + 256 * 64 + 65536 * 128: 7, 65536 * 142: 26}


def test_a_line_of_titles_and_plain_names(tmp_path):
    titles = _read(tmp_path, "Pixel Value, Class\n0, background\n1, ship\n")
    plain = _read(tmp_path, "background\nship\n")
    assert [(c.id, c.name, c.is_thing) for c in titles.categories] == [(0, "background", False), (1, "ship", False)]
    assert plain.categories == titles.categories and not plain.colors


@pytest.mark.parametrize("separator", [";", "\t"])
def test_separators_of_spreadsheets(tmp_path, separator):
    lines = ("value,name,kind,color", "0,unlabeled,void", '7,"road",,#804080', "26,car,thing,0 0 142")
    commas = _read(tmp_path, "\n".join(lines))
    assert _read(tmp_path, "\n".join(lines).replace(",", separator)) == commas
    assert [c.name for c in commas.categories] == ["road", "car"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1,road\n1,sky\n", "csv:2: value 1 is also in line 1"),
        ("1,road\n2,road\n", "csv:2: name road is also in line 1"),
        ("1,road,,#808080\n2,sky,,#808080\n", "csv:2: color #808080 is also in line 1"),
        ("1,road,stuf\n", "csv:1: kind 'stuf' is not one of stuff, thing, void; did you mean \"stuff\""),
        ("1,road,,red\n", "csv:1: color 'red' is neither"),
        ("1,road,,1 2 300\n", "csv:1: color '1 2 300' is neither"),
        ("1,road\nsky,2\n", "csv:2: 'sky,2' is not a class: a line is `value,name,kind,color`"),
        ("1,road\n70000,sky\n", "csv:2: .* is not a class"),
        ("1,\n", "csv:1: .* is not a class"),
        ("0,none,void\n", "lists no class"),
        ("", "lists no class"),
    ],
)
def test_errors_name_the_line(tmp_path, text, message):
    with pytest.raises(UserError, match=message):
        _read(tmp_path, text)
