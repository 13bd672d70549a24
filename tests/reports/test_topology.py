import pytest

from reports.comparison import ReportError
from reports.render import render
from reports.topology import topology


@pytest.fixture
def cases(simulated):
    """Some contexts of ResNet-32 at K = 8 and 16."""

    def make(method, count=1, gib=None, **options):
        return simulated(method, count, gib=gib, network="resnet32", **options)

    return [
        make("e2e", gib=4),
        make("contsup[R0]", 8, gib=1),
        make("contsup[E]", 8, gib=1.25),
        make("contsup[R1]", 8, status="out_of_memory", phase="backward of local module 8"),
        make("contsup[R0]", 16, gib=0.5),
        make("contsup[R1E]", 16, gib=1),
        make("contsup[M2R1E]", 16, gib=2),
    ]


def test_topology_is_contsups_table_4(cases):
    (table,) = topology(cases)
    assert render([table], "markdown").splitlines()[2:12] == [
        (
            "| Context | K=8 GiB | of E2E | above R0, GiB | paper GB | above R0, GB | paper err. "
            "| K=16 GiB | of E2E | above R0, GiB | paper GB | above R0, GB | paper err. |"
        ),
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
        "| R0 | 1.00 | 25.0% | 0.00 | 1.54 | 0.00 | 15.70 | 0.50 | 12.5% | 0.00 | 1.25 | 0.00 | 15.40 |",
        "| E | 1.25 | 31.2% | 0.25 | 1.76 | 0.22 | 9.50 | not run | - | - | 1.65 | 0.40 | 10.01 |",
        "| R1 | out of memory | - | - | 1.88 | 0.34 | 12.77 | not run | - | - | 1.72 | 0.47 | 15.30 |",
        "| R1E | - | - | - | - | - | - | 1.00 | 25.0% | 0.50 | - | - | - |",
        "| R2 | not run | - | - | 2.43 | 0.89 | 10.91 | not run | - | - | 2.06 | 0.81 | 13.91 |",
        "| R4 | not run | - | - | 4.25 | 2.71 | 9.80 | not run | - | - | 2.88 | 1.63 | 12.58 |",
        "| R8 | not run | - | - | 5.25 | 3.71 | 10.56 | not run | - | - | 4.90 | 3.65 | 10.32 |",
        "| R16 | - | - | - | - | - | - | not run | - | - | 6.02 | 4.77 | 10.35 |",
    ]


def test_a_case_that_ran_out_of_memory_says_at_which_phase(cases):
    (table,) = topology(cases)
    assert "contsup[R1] K=8 (simulated): out of memory in backward of local module 8" in table.notes


def test_contexts_nobody_printed_follow_in_the_order_of_the_paper_and_others_at_the_end(cases, simulated):
    other = simulated("contsup[R1E,loss=contrast]", 16, gib=1, network="resnet32")
    (table,) = topology([*cases, other])
    contexts = table.labels[0].cells
    assert contexts == ("R0", "E", "R1", "R1E", "R2", "R4", "R8", "R16", "M2R1E", "R1E,loss=contrast")


def test_dgl_is_the_row_without_context(simulated):
    (table,) = topology([simulated("dgl", 2, gib=1), simulated("contsup[R1]", 2, gib=3)])
    assert table.labels[0].cells == ("R0", "R1")
    assert table.groups[0][2].cells == ("0.00", "2.00")


def test_split_policies_make_tables_of_their_own(simulated):
    rows = [simulated("contsup[R1]", 2, gib=3), simulated("contsup[R1]", 2, gib=2, split_policy="balanced")]
    assert [table.groups[0][0].cells for table in topology(rows)] == [("3.00",), ("2.00",)]


def test_without_context_there_is_nothing_to_show(simulated):
    with pytest.raises(ReportError, match="no simulated case of this run supplies context"):
        topology([simulated("e2e", gib=4), simulated("dgl", 2, gib=1)])
