import pytest

from reports import units

GIB = 2**30


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (units.format_gib(8 * GIB + GIB // 4), "8.25"),
        (units.format_gib(10**9), "0.93"),  # a GiB is 2^30 bytes, not 10^9
        (units.format_mib(3 * 2**20 // 2), "1.5"),
        (units.format_gigabytes(3.9), "3.90"),
        (units.format_milliseconds(1.3012), "1301"),
        (units.format_milliseconds(0.05732), "57.32"),
        (units.format_milliseconds(0.00025), "0.2500"),
        (units.format_milliseconds(0.0), "0.000"),
        (units.format_millions(1_730_714), "1.731"),
        (units.format_percent(0.626), "62.6%"),
        (units.format_change(0.059), "+5.9%"),
        (units.format_change(-0.021), "-2.1%"),
        (units.format_change(-0.0001), "+0.0%"),
        (units.format_ratio(1.1344), "1.134"),
        (units.format_ratio(1.1344, 1.130, 1.138), "1.134±0.004"),
        (units.format_overhead(1.134, 1.130, 1.138), "+13.4±0.4%"),
        (units.format_overhead(0.979), "-2.1%"),
    ],
)
def test_a_number_is_shown_with_the_digits_that_matter(text, expected):
    assert text == expected


FORMATTERS = [getattr(units, name) for name in dir(units) if name.startswith("format_")]


@pytest.mark.parametrize("formatter", FORMATTERS, ids=lambda formatter: formatter.__name__)
def test_what_was_not_measured_is_a_dash_and_not_zero(formatter):
    assert formatter(None) == "-"


def test_memory_is_in_gib_from_one_gib_on():
    assert units.memory_unit(GIB)[0] == "GiB"
    name, show = units.memory_unit(GIB - 1)
    assert (name, show(GIB // 2)) == ("MiB", "512.0")
