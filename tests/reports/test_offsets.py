"""One constant per paper, and what it leaves."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reports.offsets import fit_offset
from reports.published import printed_memory
from reports.tables import memory

SIZES = st.lists(st.tuples(st.floats(0, 100), st.floats(0, 100)), min_size=1, max_size=12)


def test_a_constant_is_found_exactly():
    fit = fit_offset([3.5, 2.5, 9.0], [2.25, 1.25, 7.75])
    assert fit.offset == 1.25
    assert fit.residuals == (0, 0, 0)
    assert fit.worst == fit.middle == 0


def test_one_cell_that_does_not_fit_leaves_the_others_alone():
    fit = fit_offset([3.0, 4.0, 5.0, 6.0, 20.0], [2.0, 3.0, 4.0, 5.0, 6.0])
    assert fit.offset == 1
    assert fit.residuals == (0, 0, 0, 0, 13)
    assert (fit.middle, fit.worst) == (0, 13)


@given(SIZES, st.floats(-10, 10))
def test_no_other_constant_leaves_less(pairs, other):
    printed, simulated = zip(*pairs, strict=True)
    fit = fit_offset(printed, simulated)
    rest = sum(map(abs, fit.residuals))
    assert rest <= sum(abs(a - b - fit.offset - other) for a, b in pairs) + 1e-6


@pytest.mark.parametrize(("printed", "simulated"), [([], []), ([1.0], []), ([1.0], [1.0, 2.0])])
def test_cells_come_in_pairs(printed, simulated):
    with pytest.raises(ValueError, match=r"at least one cell|zip\(\) argument"):
        fit_offset(printed, simulated)


def test_printed_figures_are_found_by_the_papers_own_names():
    assert printed_memory("InfoPro Table 3", "STL-10", "ResNet-110", "InfoPro* (softmax)", "3") == 4.96
    assert printed_memory("MLAAN Table 3", "CIFAR-10", "ResNet-110", "E2E (BP)", "1") == 9.26
    assert printed_memory("InfoPro Table 3", "CIFAR-10", "ResNet-110", "E2E", "1") == 9.4
    with pytest.raises(KeyError, match="MLAAN Table 9"):
        printed_memory("MLAAN Table 9", "CIFAR-10", "ResNet-110", "E2E (BP)", "1")


def test_reports_fit_one_constant_per_paper_over_all_their_tables(simulated):
    """InfoPro's Table 3 prints 9.40 and 3.91 on CIFAR-10, 10.77 on STL-10; print is then 1.25, 1.25 and 2.25 higher."""
    stl10 = {"dataset": "stl10", "image_size": 96, "batch_size": 128}
    rows = [simulated("e2e", gib=8.15), simulated("checkpoint", gib=2.66), simulated("e2e", gib=8.52, **stl10)]
    words = "InfoPro Table 3 1.25 GiB (3 cells, 0.00 left by median, 1.00 at most)."
    for table in memory(rows):
        assert any(note.endswith(words) for note in table.notes)
    assert not any("one constant" in note for table in memory(rows[:2]) for note in table.notes)
