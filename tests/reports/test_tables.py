import subprocess
import sys
from pathlib import Path

import pytest

from reports.comparison import ReportError
from reports.render import render
from reports.tables import REPORTS, find_report, memory, overhead

ROOT = Path(__file__).parents[2]


def texts(table, method, module_count=1):
    """Header -> cell of one line."""
    columns = [*table.labels, *(column for group in table.groups for column in group)]
    lines = list(zip(table.labels[0].cells, table.labels[1].cells, strict=True))
    place = lines.index((method, str(module_count)))
    found = {}
    for column in columns:
        name = column.header.replace("\n", " ")
        found[name if name not in found else f"{name} 2"] = column.cells[place]
    return found


def notes(table):
    return "\n".join(table.notes)


@pytest.fixture
def run(simulated, measured):
    """E2E, checkpointing, a balanced and an equal split, on a CPU."""
    timed = {"reference_step_seconds": (0.5,) * 4, "reference_inference_seconds": (0.1,) * 4}
    return [
        simulated(
            "e2e", gib=8, theoretical_overhead=0.0, parameter_count=1_730_714, deployed_parameter_count=1_730_714
        ),
        measured("e2e", step_seconds=(0.5,) * 4, inference_seconds=(0.1,) * 4, **timed),
        simulated("checkpoint", gib=2.5, theoretical_overhead=0.331),
        measured("checkpoint", step_seconds=(0.6, 0.62, 0.64, 0.66), inference_seconds=(0.1,) * 4, **timed),
        simulated("infopro[contrast]", 4, gib=3, split_policy="balanced", theoretical_overhead=0.046),
        measured("infopro[contrast]", 4, split_policy="balanced", status="timeout"),
        simulated("contsup[E]", 4, gib=4, deployed_parameter_count=1_740_000),
    ]


def test_overhead_puts_memory_beside_e2e_and_the_paper(run):
    (table,) = overhead(run)
    line = texts(table, "infopro[contrast]", 4)
    assert (line["peak GiB"], line["of E2E"], line["paper of E2E"]) == ("3.00", "37.5%", "37.4%")
    assert (line["extra FLOPs"], line["paper"]) == ("+4.6%", "+5.9%")


def test_overhead_puts_time_beside_e2e_and_the_paper(run):
    (table,) = overhead(run)
    line = texts(table, "checkpoint")
    # Ratios 1.20, 1.24, 1.28, 1.32: median 1.26, interval from end to end.
    assert (line["step ms"], line["step x E2E"], line["paper x E2E"]) == ("630.0", "1.260±0.060", "1.275")
    assert (line["infer. ms"], line["infer. x E2E"], line["paper x E2E 2"]) == ("100.0", "1.000±0.000", "-")


def test_overhead_shows_parameters_in_millions(run):
    (table,) = overhead(run)
    line = texts(table, "e2e")
    assert (line["params trained"], line["params deployed"]) == ("1.731", "1.731")
    assert texts(table, "contsup[E]", 4)["params trained"] == "-"


def test_memory_has_the_columns_of_infopros_table_3(run):
    (table,) = memory(run)
    line = texts(table, "checkpoint")
    # 1 - 2.5/8; the paper: 1 - 3.91/9.40.
    assert (line["peak GiB"], line["saved"], line["paper GB"], line["paper saved"]) == (
        "2.50",
        "68.8%",
        "3.91",
        "58.4%",
    )
    assert (line["extra FLOPs"], line["paper"]) == ("+33.1%", "+32.8%")
    assert (line["step time"], line["paper 2"]) == ("+26.0±6.0%", "+27.5%")


@pytest.mark.parametrize("build", [overhead, memory])
def test_a_missing_cell_says_why(build, run):
    (table,) = build(run)
    step = {overhead: "step ms", memory: "step time"}[build]
    assert texts(table, "infopro[contrast]", 4)[step] == "timeout"
    assert texts(table, "contsup[E]", 4)[step] == "not run"


@pytest.mark.parametrize(("status", "text"), [("out_of_memory", "out of memory"), ("failed", "failed")])
def test_a_row_that_did_not_finish_is_named_in_the_notes(simulated, status, text):
    row = simulated("dgl", 2, status=status, phase="backward of module 1", message="no room\nfor it")
    (table,) = memory([simulated("e2e", gib=8), row])
    assert texts(table, "dgl", 2)["peak GiB"] == text
    assert f"dgl K=2 (simulated): {text} in backward of module 1: no room" in table.notes


def test_the_split_has_a_column_only_where_splits_differ(run, simulated):
    (table,) = memory(run)
    assert [column.header for column in table.labels] == ["Method", "K", "Split"]
    assert table.labels[2].cells == ("", "", "balanced", "equal")
    (table,) = memory([simulated("e2e", gib=8), simulated("dgl", 2, gib=4)])
    assert [column.header for column in table.labels] == ["Method", "K"]
    assert "K: local modules, equal split." in table.notes


def test_an_explicit_split_is_shortened(simulated):
    sizes = ("27,28", "18,18,19", "13,14,14,14")
    rows = [simulated("dgl", split.count(",") + 1, gib=1, split_policy=split) for split in sizes]
    assert memory(rows)[0].labels[2].cells == ("27,28", "18,18,19", "13,14,14,..")


def test_small_peaks_are_shown_in_mib(simulated):
    (table,) = memory([simulated("e2e", peak_allocated_bytes=3 * 2**19)])
    assert texts(table, "e2e")["peak MiB"] == "1.5"


def test_notes_define_memory_and_time_and_name_the_sources(run):
    for build in (overhead, memory):
        text = notes(build(run)[0])
        assert "Memory: batch 1024, simulated (any CUDA device, torch 2.15.0): peak of allocated bytes" in text
        assert "512-byte blocks" in text
        assert "convolution workspace not counted" in text
        assert "2^30" in text
        assert "Times: batch 64, synthetic data, measured on EPYC (cpu, threads: 2), torch 2.15.0; 4 pairs" in text
        assert "InfoPro Table 3 (batch 1024" in text
        assert "Papers define memory and time in their own ways" in text


def test_notes_tell_the_range_of_samples_and_the_timings_cut_by_the_limit(simulated, measured):
    def timed(method, count, pairs, stop):
        samples = {"step_seconds": (0.5,) * pairs, "reference_step_seconds": (0.5,) * pairs}
        return measured(method, count, timing_stop=stop, **samples)

    (table,) = overhead([simulated("e2e", gib=8), timed("dgl", 2, 4, "time"), timed("dgl", 4, 12, "converged")])
    assert "4 to 12 pairs of samples" in notes(table)
    assert "1 of 2 timings ended at the time limit." in notes(table)


def test_a_noisy_run_is_called_noisy(simulated, measured):
    def table(slowest):
        samples = {"step_seconds": (1.0, 1.0, slowest), "reference_step_seconds": (1.0,) * 3}
        return overhead([simulated("e2e", gib=8), measured("e2e", **samples), measured("dgl", 2)])[0]

    # The interval of three pairs reaches from the least to the largest.
    assert "Noisy: 1 of 1 step ratios are uncertain by over 5%" in notes(table(1.12))
    assert "Noisy" not in notes(table(1.08))


def test_a_modelled_workspace_is_named(simulated):
    assert "convolution workspace from cudnn." in notes(memory([simulated("e2e", gib=8, workspace="cudnn")])[0])


def test_sources_of_figures_that_are_not_shown_are_not_named(simulated):
    rows = [simulated("e2e", gib=8), simulated("contsup[E]", 2, gib=5)]
    assert "ContSup Table 10" not in notes(overhead(rows)[0])
    assert "Times: not measured in this run." in overhead(rows)[0].notes


def test_a_run_without_e2e_says_what_is_missing(simulated):
    message = "No memory ratios: the run has no finished e2e row under these settings; run e2e as well."
    assert message in memory([simulated("dgl", 2, gib=4)])[0].notes
    assert message in memory([simulated("dgl", 2, gib=4), simulated("e2e", status="failed")])[0].notes
    assert message not in memory([simulated("dgl", 2, gib=4), simulated("e2e", gib=8)])[0].notes


@pytest.mark.parametrize("build", [overhead, memory])
def test_what_was_only_measured_has_no_simulated_columns(build, measured):
    (table,) = build([measured("e2e", step_seconds=(0.5,))])
    assert not any(name.startswith("peak") for name in texts(table, "e2e"))
    assert "Memory: not simulated in this run." in table.notes


def test_a_gpus_peak_stands_beside_the_simulated_one_with_the_error(simulated, measured):
    cuda = {"device": "cuda", "device_name": "H200", "batch_size": 1024}
    (table,) = memory(
        [
            simulated("e2e", gib=8.2),
            measured("e2e", peak_allocated_bytes=8 * 2**30, **cuda),
            simulated("dgl", 2, gib=3.9),
            measured("dgl", 2, peak_allocated_bytes=4 * 2**30, **cuda),
        ]
    )
    line = texts(table, "dgl", 2)
    assert (line["measured GiB"], line["measured saved"], line["error of simulated"]) == ("4.00", "50.0%", "-2.5%")
    assert "read from torch's allocator at batch 1024" in notes(table)


def test_a_table_is_named_after_its_workload(simulated):
    titles = [table.title for table in memory([simulated("e2e", gib=8), simulated("e2e", gib=4, precision="bfloat16")])]
    assert titles == [
        "resnet110 on cifar10 (bfloat16): memory saved and its price",
        "resnet110 on cifar10: memory saved and its price",
    ]


@pytest.mark.parametrize("name", REPORTS)
def test_every_report_refuses_an_empty_run(name):
    with pytest.raises(ReportError, match="the run holds no measurements"):
        find_report(name)([])


@pytest.mark.parametrize("name", REPORTS)
def test_every_report_is_built_from_a_whole_suite_and_described(name, suite_tables):
    assert REPORTS[name].summary
    for table in suite_tables[name]:
        columns = [*table.labels, *(column for group in table.groups for column in group)]
        assert len({len(column.cells) for column in columns}) == 1


def test_an_unknown_report_lists_those_there_are():
    with pytest.raises(ReportError, match="unknown report 'table3': there are overhead, memory, device, topology,"):
        find_report("table3")


def test_reports_need_neither_torch_nor_pyarrow():
    script = (
        "import sys, reports.tables, reports.render; print({'torch', 'pyarrow', 'bench', 'methods'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_methods_that_no_paper_compares_have_their_rows_too(simulated, measured):
    """Those trained in rounds, and those of a plugin."""
    names = ["asy_infopro[softmax]", "boostresnet", "dib", "predsim", "my[own=2]"]
    timed = {"step_seconds": (1.2,) * 3, "reference_step_seconds": (1.0,) * 3}
    rows = [simulated("e2e", gib=8), measured("e2e", **timed)]
    for name in names:
        rows += [simulated(name, 2, gib=4, theoretical_overhead=0.5), measured(name, 2, **timed)]
    for report in ("overhead", "memory", "splits", "tradeoff", "table12"):
        text = render(REPORTS[report].build(rows), "markdown")
        assert all(f"| {name} |" in text for name in names), report
    labels = {line.label for panel in REPORTS["tradeoff"].chart.build(rows) for line in panel.series}
    assert {*names} <= labels


def test_a_method_with_an_optimizer_of_its_own_is_shown_without_a_ratio(simulated, measured):
    timed = {"step_seconds": (1.2,) * 3, "reference_step_seconds": (1.0,) * 3}
    rows = [simulated("e2e", gib=8), measured("e2e", **timed)]
    rows += [
        simulated("boostresnet", 2, gib=4, optimizer="adam"),
        measured("boostresnet", 2, optimizer="adam", **timed),
    ]
    table, _ = REPORTS["tradeoff"].build(rows)
    assert table.title.startswith("resnet110 on cifar10 (adam)")
    text = render([table], "markdown")
    assert "| boostresnet | 2 | 4.00 | - | +20.0±0.0% |" in text
    assert "No memory ratios: the run has no finished e2e row under these settings; run e2e as well." in text
    assert len(REPORTS["tradeoff"].chart.build(rows)) == 1


def test_what_a_run_flagged_is_said_below_its_tables(simulated, measured):
    rows = [simulated("e2e", gib=8), measured("e2e", flags=("unsettled", "time limit"))]
    rows += [simulated("dgl", 2, gib=4), measured("dgl", 2, flags=("unsettled",))]
    (table,) = overhead(rows)
    assert "Flagged: unsettled (2 rows), time limit (1 row); docs/measuring.md says what each means." in table.notes
