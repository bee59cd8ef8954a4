import pytest

from protos.input_sizes import is_input_side, nearest_sides, nearest_size, next_size, per_side


def test_input_sides_are_32k_plus_1():
    assert [side for side in range(-40, 140) if is_input_side(side)] == [33, 65, 97, 129]


@pytest.mark.parametrize(("side", "nearest"), [(1, (33,)), (33, (33,)), (34, (33, 65)), (360, (353, 385)), (385, (385,))])
def test_nearest_sides(side, nearest):
    assert nearest_sides(side) == nearest
    assert all(map(is_input_side, nearest))


def test_nearest_size_as_a_phrase():
    assert nearest_size(360, 481) == "the nearest are 353 or 385 for the height and 481 for the width"


def test_next_size():
    assert next_size((801, 1201)) == (801, 1217)
    assert next_size((33, 34)) == (33, 65)
    assert next_size((1, 2)) == (33, 33)


def test_one_resize_value_applies_to_both_sides():
    assert per_side([3]) == (3, 3)
    assert per_side([3, 4]) == (3, 4)
    assert per_side([]) == (0, 0)
