import pytest
from hypothesis import given
from hypothesis import strategies as st

from partition import Split, SplitError, equal_split, parse_split

RESNET32 = ("stem", *(f"layer{stage}.{block}" for stage in (1, 2, 3) for block in range(5)))
RESNET110 = ("stem", *(f"layer{stage}.{block}" for stage in (1, 2, 3) for block in range(18)))

# methods.md section 2.1: number of units, K -> sizes of the equal-layer rule.
EQUAL_SPLITS = {
    (16, 2): "8,8",
    (16, 3): "5,5,6",
    (16, 4): "4,4,4,4",
    (16, 8): "2,2,2,2,2,2,2,2",
    (16, 16): ",".join(["1"] * 16),
    (55, 2): "27,28",
    (55, 3): "18,18,19",
    (55, 4): "13,14,14,14",
    (55, 8): "6,7,7,7,7,7,7,7",
    (55, 16): ",".join(["3"] * 9 + ["4"] * 7),
    (55, 32): ",".join(["1"] * 9 + ["2"] * 23),
    (55, 55): ",".join(["1"] * 55),
    (51, 2): "25,26",
    (51, 4): "12,13,13,13",
    (51, 8): "6,6,6,6,6,7,7,7",
    (51, 16): ",".join(["3"] * 13 + ["4"] * 3),
    (17, 2): "8,9",
    (17, 4): "4,4,4,5",
    (17, 8): "2,2,2,2,2,2,2,3",
    (17, 16): ",".join(["1"] * 15 + ["2"]),
    (34, 2): "17,17",
    (34, 4): "8,8,9,9",
    (34, 8): "4,4,4,4,4,4,5,5",
    (34, 16): ",".join(["2"] * 14 + ["3"] * 2),
}

# The same table's boundaries: last units of all modules but the final one.
EQUAL_BOUNDARIES = {
    (RESNET32, 2): "2.1",
    (RESNET32, 3): "1.3,2.3",
    (RESNET32, 4): "1.2,2.1,3.0",
    (RESNET32, 8): "1.0,1.2,1.4,2.1,2.3,3.0,3.2",
    (RESNET32, 16): "conv1,1.0,1.1,1.2,1.3,1.4,2.0,2.1,2.2,2.3,2.4,3.0,3.1,3.2,3.3",
    (RESNET110, 2): "2.7",
    (RESNET110, 3): "1.16,2.16",
    (RESNET110, 4): "1.11,2.7,3.3",
    (RESNET110, 8): "1.4,1.11,2.0,2.7,2.14,3.3,3.10",
    (RESNET110, 16): "1.1,1.4,1.7,1.10,1.13,1.16,2.1,2.4,2.7,2.11,2.15,3.1,3.5,3.9,3.13",
}


@pytest.mark.parametrize(("key", "sizes"), EQUAL_SPLITS.items())
def test_equal_split_gives_the_published_sizes(key, sizes):
    assert str(equal_split(*key)) == sizes


@pytest.mark.parametrize(("key", "boundaries"), EQUAL_BOUNDARIES.items(), ids=lambda value: str(value)[-30:])
def test_last_units_and_the_equal_rule_name_the_same_split(key, boundaries):
    names, module_count = key
    assert parse_split(boundaries, names, module_count) == equal_split(len(names), module_count)


def test_modules_of_a_split_are_consecutive_unit_ranges():
    assert Split((2, 1, 3)).modules() == (range(2), range(2, 3), range(3, 6))


def test_released_split_of_resnet110_in_two_is_28_and_27():
    assert parse_split("2.8", RESNET110).sizes == (28, 27)
    assert parse_split("layer2.8", RESNET110).sizes == (28, 27)


@given(st.integers(1, 300), st.data())
def test_equal_split_is_even_and_later_modules_are_not_smaller(unit_count, data):
    module_count = data.draw(st.integers(1, unit_count))
    split = equal_split(unit_count, module_count)
    assert split.unit_count == unit_count
    assert split.module_count == module_count
    assert list(split.sizes) == sorted(split.sizes)
    assert split.sizes[-1] - split.sizes[0] <= 1


@given(st.lists(st.integers(1, 9), min_size=1, max_size=12))
def test_any_split_survives_both_notations(sizes):
    split = Split(tuple(sizes))
    names = [f"layer1.{i}" for i in range(split.unit_count)]
    assert parse_split(str(split), names) == split
    if split.module_count > 1:
        assert parse_split(",".join(names[last] for last in split.last_units[:-1]), names) == split


@given(st.text(max_size=20))
def test_any_text_gives_a_split_or_a_named_error(text):
    try:
        split = parse_split(text, RESNET32, 2)
    except SplitError:
        return
    assert split.unit_count == len(RESNET32)
    assert split.module_count == 2


@pytest.mark.parametrize(
    ("text", "module_count", "message"),
    [
        ("8,9", None, "sizes 8,9 sum to 17, but the chain has 16 units"),
        ("16,0", None, r"every module needs at least one unit \(sizes: 16,0\)"),
        ("2.9", None, "unknown unit '2.9' in split '2.9'; units run from stem to layer3.4"),
        ("2.1,1.3", None, "last units must follow the order of the chain"),
        ("3.4", None, "leave it out"),
        ("8,8", 4, "split '8,8' has 2 modules, but 4 were asked for; sizes name every module"),
        ("2.1", 3, "has 2 modules, but 3 were asked for; last units name every module but the final one"),
        ("equal", None, "needs a number of modules"),
        ("equal", 17, r"too few units for the modules \(units: 16, modules: 17\)"),
        ("equal", 0, r"at least one module \(modules: 0\)"),
    ],
)
def test_a_split_that_cannot_be_says_why(text, module_count, message):
    with pytest.raises(SplitError, match=message):
        parse_split(text, RESNET32, module_count)
