from dataclasses import replace

import pytest

from reports.comparison import ReportError
from reports.render import render
from reports.run_changes import LEGEND, compare_runs, find_holders, find_unlike, summarise, tabulate, to_json
from results.samples import Holder


def timed(*ratios):
    return {"step_seconds": ratios, "reference_step_seconds": (1.0,) * len(ratios)}


@pytest.fixture
def before(simulated, measured):
    return [
        simulated("e2e", gib=8),
        simulated("greedy", 4, gib=2, peak_phase="forward of local module 1"),
        simulated("dgl", 4, gib=3),
        simulated("dgl", 8, gib=2),
        measured("dgl", 4, **timed(1.1, 1.11, 1.12)),
        measured("dgl", 8, **timed(1.1, 1.2, 1.3)),
    ]


@pytest.fixture
def after(simulated, measured):
    return [
        simulated("e2e", gib=8),
        simulated("greedy", 4, gib=2.5, peak_phase="backward of local module 1"),
        simulated("dgl", 4, gib=3, status="out_of_memory", phase="first step", message="no room\nat all"),
        measured("dgl", 4, **timed(1.2, 1.21, 1.22)),
        measured("dgl", 8, **timed(1.2, 1.3, 1.4)),
        simulated("dgl", 16, gib=1),
    ]


def test_runs_are_compared_case_by_case(before, after):
    changes = compare_runs(before, after)
    assert summarise(changes) == "1 broken, 1 grew, 1 slower, 1 gone, 1 new, 2 same"
    simulated, measured = tabulate(changes)
    assert render([simulated], "markdown") == (
        "### resnet110 on cifar10, batch 1024, simulated for any CUDA device\n"
        "\n"
        "|  | Method | K | Split | peak before, GiB | now GiB | change | bytes | x E2E before | x E2E now |\n"
        "| --- | --- | ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: |\n"
        "| broken | dgl | 4 | equal | 3.00 | out of memory | - | - | - | out of memory |\n"
        "| grew | greedy | 4 | equal | 2.00 | 2.50 | +25.0% | +512.0 MiB | - | - |\n"
        "| gone | dgl | 8 | equal | 2.00 | not run | - | - | - | not run |\n"
        "| new | dgl | 16 | equal | not run | 1.00 | - | - | not run | - |\n"
        "\n"
        f"- {LEGEND}\n"
        "- dgl K=4: out of memory in first step: no room\n"
        "- greedy K=4: peak at backward of local module 1, before at forward of local module 1\n"
    )
    assert measured.title == "resnet110 on cifar10, batch 64, measured on EPYC"
    assert [column.cells for column in measured.groups[1]] == [("1.110±0.010",), ("1.210±0.010",)]


def test_what_a_peak_holds_more_of_is_named_by_category_and_module(simulated):
    mib = 2**20

    def run(**sizes):
        held = tuple(Holder(category=name, module=module, bytes=size * mib) for name, (module, size) in sizes.items())
        return [simulated("dgl", 2, peak_allocated_bytes=sum(each.bytes for each in held), peak_holders=held)]

    (change,) = compare_runs(
        run(parameters=(None, 8), activations=(0, 100), auxiliary=(1, 10), input=(0, 2), buffers=(None, 1)),
        run(parameters=(None, 8), activations=(0, 164), auxiliary=(1, 14), input=(0, 3), temporary=(1, 7)),
    )
    (table,) = tabulate([change])
    assert table.notes[1] == (
        "dgl K=2: +64.0 MiB activations in module 1; +7.0 MiB temporary tensors in module 2; "
        "+4.0 MiB of the auxiliary network in module 2; +0 B in 2 more"
    )
    peaks = [side.readings.peak_allocated_bytes for side in (change.before, change.after)]
    assert sum(size for *_, size in find_holders(change)) == peaks[1] - peaks[0]
    assert to_json(change)["peak_holders_change"][0] == {"category": "activations", "module": 0, "bytes": 64 * mib}


def test_cases_that_differ_in_a_factor_are_told_apart(simulated):
    shared = simulated("dgl", 2, gib=1)
    changes = compare_runs([shared], [shared, simulated("dgl", 2, gib=2, allocator="expandable_segments:True")])
    assert summarise(changes) == "1 new, 1 same"
    (table,) = tabulate(changes)
    assert table.title.startswith("resnet110 on cifar10 (expandable_segments:True), batch 1024")


def test_one_byte_is_a_change_and_a_step_within_its_noise_is_none(simulated, measured):
    peak = {"peak_allocated_bytes": 2**30}
    rows = [[simulated("dgl", 2, peak_allocated_bytes=2**30 + extra)] for extra in (0, 1)]
    assert [change.verdicts for change in compare_runs(*rows)] == [("grew",)]
    assert [change.verdicts for change in compare_runs(*rows[::-1])] == [("shrank",)]
    steps = [[measured("dgl", 2, **peak, **timed(1.0 + shift, 1.1 + shift, 1.2 + shift))] for shift in (0, 0.15)]
    assert [change.verdicts for change in compare_runs(*steps)] == [("same",)]


def test_a_case_may_grow_and_be_faster(measured):
    before = measured("dgl", 2, peak_allocated_bytes=1024, **timed(1.5, 1.5, 1.5))
    after = measured("dgl", 2, peak_allocated_bytes=2048, **timed(1.2, 1.2, 1.2))
    assert compare_runs([before], [after])[0].verdicts == ("grew", "faster")


def test_a_case_that_runs_again_is_mended(simulated):
    (change,) = compare_runs([simulated("dgl", 2, status="failed")], [simulated("dgl", 2, gib=1)])
    assert change.verdicts == ("mended",)


def test_of_a_case_run_twice_the_later_counts(simulated):
    first = simulated("dgl", 2, gib=1)
    second = replace(simulated("dgl", 2, gib=2), started_at="2027-01-01T00:00:00+00:00")
    for rows in ([first, second], [second, first]):
        assert compare_runs(rows, [second])[0].verdicts == ("same",)


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ({"torch_version": "2.16.0+cu132"}, "torch 2.15.0 and 2.16.0"),
        ({"device_name": "NVIDIA H200"}, "device any CUDA device and NVIDIA H200"),
        ({"simulator_version": 2}, "simulator 1 and 2"),
        ({"workspace": "cudnn"}, "workspace none and cudnn"),
    ],
)
def test_unlike_runs_are_refused_unless_asked_for(option, words, simulated):
    before = [simulated("dgl", 2, gib=1, workspace="none")]
    after = [simulated("dgl", 2, gib=2, **{"workspace": "none"} | option)]
    with pytest.raises(ReportError, match=f"not alike: {words}. Compare them all the same with --anyway"):
        compare_runs(before, after)
    changes = compare_runs(before, after, anyway=True)
    assert changes[0].verdicts == ("grew",)
    pairs = [(change.before, change.after) for change in changes]
    assert find_unlike(pairs) == [words]


def test_measured_rows_are_of_one_machine(measured):
    with pytest.raises(ReportError, match="threads 2 and 4"):
        compare_runs([measured("dgl", 2)], [measured("dgl", 2, thread_count=4)])


def test_builds_of_one_torch_for_other_cuda_versions_are_alike(simulated):
    rows = [[simulated("dgl", 2, gib=1, torch_version=f"2.15.0{build}")] for build in ("+cu130", "+cu132")]
    assert compare_runs(*rows)[0].verdicts == ("same",)


def test_runs_without_a_case_in_common_are_refused(simulated):
    with pytest.raises(ReportError, match=r"no case in common \(cases: 1 and 1\)"):
        compare_runs([simulated("dgl", 2, gib=1)], [simulated("dgl", 2, gib=1, batch_size=8)])


def test_json_has_raw_values_of_both_sides(before, after):
    change = next(to_json(change) for change in compare_runs(before, after) if change.verdicts == ("grew",))
    assert (change["method"], change["verdicts"], change["peak_growth"]) == ("greedy", ("grew",), 0.25)
    assert change["before"]["peak_allocated_bytes"] == 2 * 2**30
    assert change["after"]["peak_phase"] == "backward of local module 1"
