from dataclasses import replace

import pytest

from reports.comparison import ReportError, compare


def only(measurements):
    """The rows of the one comparison by (method, K)."""
    (comparison,) = compare(measurements)
    return {(row.method, row.module_count): row for row in comparison.rows}


def batches(measurements):
    """(simulated, measured) batch sizes of every comparison."""
    return [
        tuple(setting and setting.batch_size for setting in (each.simulated_setting, each.measured_setting))
        for each in compare(measurements)
    ]


def test_no_measurements_are_an_error():
    with pytest.raises(ReportError, match="nothing to report: the run holds no measurements"):
        compare([])


def test_simulated_and_measured_rows_of_a_case_become_one_row(simulated, measured):
    rows = only(
        [
            simulated("e2e", gib=8),
            simulated("dgl", 4, gib=3, theoretical_overhead=0.08),
            measured("e2e", step_seconds=(0.5, 0.5), reference_step_seconds=(0.5, 0.5)),
            measured("dgl", 4, step_seconds=(0.6, 0.55, 0.5), reference_step_seconds=(0.5, 0.5, 0.5)),
        ]
    )
    dgl = rows["dgl", 4]
    assert dgl.peak_allocated_bytes == 3 * 2**30
    assert dgl.peak_ratio == 0.375
    assert dgl.step_seconds == 0.55
    assert dgl.step_ratio == pytest.approx(1.1)
    assert (dgl.step_ratio_low, dgl.step_ratio_high, dgl.step_count) == pytest.approx((1.0, 1.2, 3))
    assert (dgl.simulated_batch_size, dgl.measured_batch_size) == (1024, 64)


def test_published_figures_stand_beside_the_case(simulated):
    rows = only([simulated("e2e", gib=8), simulated("infopro[contrast]", 4, gib=3, split_policy="balanced")])
    row = rows["infopro[contrast]", 4]
    assert row.published_memory_gb == 3.52
    assert row.published_peak_ratio == pytest.approx(3.52 / 9.4)
    assert row.published_theoretical_overhead == pytest.approx(0.059)
    assert row.published_step_ratio == pytest.approx(1.134)
    assert row.published_memory_source == "InfoPro Table 3"


@pytest.mark.parametrize("option", [{"precision": "bfloat16"}, {"image_size": 64}])
def test_figures_of_float32_and_the_datasets_own_images_stand_beside_nothing_else(simulated, option):
    assert only([simulated("e2e", gib=8, **option)])["e2e", 1].published_memory_gb is None


def test_a_case_that_was_only_simulated_says_so(simulated, measured):
    rows = only([simulated("e2e", gib=8), simulated("dgl", 4, gib=3), measured("e2e", step_seconds=(0.5,))])
    assert rows["dgl", 4].measured_status == "not_run"
    assert rows["dgl", 4].step_seconds is None


def test_peaks_and_times_of_a_row_that_failed_are_not_results(simulated, measured):
    rows = only(
        [
            simulated("e2e", gib=8),
            simulated("dgl", 2, gib=5, status="out_of_memory", parameter_count=1_800_000, theoretical_overhead=0.04),
            measured("dgl", 2, status="timeout", step_seconds=(0.5,), reference_step_seconds=(0.4,)),
        ]
    )
    dgl = rows["dgl", 2]
    assert (dgl.simulated_status, dgl.measured_status) == ("out_of_memory", "timeout")
    assert (dgl.peak_allocated_bytes, dgl.step_seconds, dgl.step_ratio) == (None, None, None)
    assert (dgl.parameter_count, dgl.theoretical_overhead) == (1_800_000, 0.04)


def test_without_e2e_there_are_no_memory_ratios(simulated):
    assert only([simulated("dgl", 4, gib=3)])["dgl", 4].peak_ratio is None


def test_e2e_is_its_own_reference(measured):
    e2e = only([measured("e2e", step_seconds=(0.5, 0.5))])["e2e", 1]
    assert (e2e.step_ratio, e2e.step_ratio_low) == (1.0, None)


def test_e2e_timed_against_itself_shows_the_noise(measured):
    e2e = only([measured("e2e", step_seconds=(0.5, 0.6, 0.5), reference_step_seconds=(0.5, 0.5, 0.5))])["e2e", 1]
    assert (e2e.step_ratio, e2e.step_ratio_high) == (1.0, 1.2)


def test_flops_are_compared_within_one_batch_size(simulated, measured):
    rows = only(
        [
            simulated("e2e", inference_flops=1000),
            simulated("contsup[E]", 2, inference_flops=1020),
            measured("e2e", inference_flops=10),
            measured("contsup[E]", 2, inference_flops=11),
        ]
    )
    assert rows["contsup[E]", 2].inference_flops_ratio == pytest.approx(1.02)


def test_the_error_of_the_simulation_needs_one_batch_size(simulated, measured):
    peak = {"peak_allocated_bytes": 4 * 2**30, "device": "cuda"}
    rows = [simulated("e2e", gib=4.1)]
    assert only([*rows, measured("e2e", batch_size=1024, **peak)])["e2e", 1].simulation_error == pytest.approx(0.025)
    assert only([*rows, measured("e2e", batch_size=512, **peak)])["e2e", 1].simulation_error is None


def test_a_batch_joins_the_same_batch_of_the_other_kind_or_else_its_largest(simulated, measured):
    small, large = simulated("e2e", batch_size=64), simulated("e2e", batch_size=1024)
    assert batches([large, measured("e2e", batch_size=64)]) == [(1024, 64)]
    assert batches([small, large, measured("e2e", batch_size=64)]) == [(64, 64), (1024, 64)]
    assert batches([small, large, measured("e2e", batch_size=64), measured("e2e", batch_size=1024)]) == [
        (64, 64),
        (1024, 1024),
    ]
    sixteen, timed = measured("e2e", batch_size=16), measured("e2e", batch_size=1024)
    assert batches([large, sixteen, timed]) == [(1024, 16), (1024, 1024)]
    assert batches([large]) == [(1024, None)]
    assert batches([sixteen]) == [(None, 16)]


@pytest.mark.parametrize(
    "option",
    [
        {"dataset": "svhn"},
        {"network": "resnet32"},
        {"precision": "bfloat16"},
        {"image_size": 64},
        {"image_width": 64},
        {"tf32": False},
        {"memory_format": "channels_last"},
        {"cudnn_benchmark": True},
    ],
)
def test_workloads_are_never_mixed(simulated, option):
    first, second = compare([simulated("e2e", gib=8), simulated("dgl", 2, gib=4, **option)])
    assert len(first.rows) == len(second.rows) == 1


@pytest.mark.parametrize("option", [{"torch_version": "2.16.0"}, {"device_name": "other"}, {"simulator_version": 2}])
def test_settings_are_never_mixed(simulated, option):
    rows = [simulated("e2e", gib=8), simulated("dgl", 2, gib=4, **option)]
    assert [[row.peak_ratio for row in each.rows] for each in compare(rows)] in ([[1.0], [None]], [[None], [1.0]])


def test_the_order_of_a_runs_rows_has_no_say(suite):
    assert [each.rows for each in compare(suite)] == [each.rows for each in compare(suite[::-1])]


def test_e2e_comes_first_known_methods_follow_in_the_papers_order_others_by_name(simulated):
    methods = ["zeta", "contsup[E]", "dgl", "alpha", "checkpoint", "e2e", "infopro[softmax]"]
    (comparison,) = compare([simulated(method, gib=1) for method in methods])
    shown = [row.method for row in comparison.rows]
    assert shown == ["e2e", "checkpoint", "dgl", "infopro[softmax]", "contsup[E]", "alpha", "zeta"]


def test_a_method_with_options_follows_its_kin(simulated):
    methods = ["infopro[softmax]+checkpoint", "dgl", "checkpoint[segments=2]", "infopro[contrast]", "checkpoint"]
    (comparison,) = compare([simulated(method, gib=1) for method in methods])
    shown = [row.method for row in comparison.rows]
    assert shown == ["checkpoint", "checkpoint[segments=2]", "dgl", "infopro[contrast]", "infopro[softmax]+checkpoint"]


def test_an_addition_follows_the_same_addition(simulated):
    methods = ["dgl+mlaan[c=3]", "dgl+mlaan", "dgl[head=1c1f]", "dgl", "contsup[E]+backlink[3]", "contsup[E]", "mlaan"]
    (comparison,) = compare([simulated(method, gib=1) for method in methods])
    expected = ["dgl", "dgl[head=1c1f]", "contsup[E]", "contsup[E]+backlink[3]", "mlaan", "dgl+mlaan", "dgl+mlaan[c=3]"]
    assert [row.method for row in comparison.rows] == expected


def test_k_ascends_as_a_number_and_splits_of_one_k_stay_apart(simulated):
    rows = [simulated("dgl", count, gib=1) for count in (16, 2)]
    rows += [simulated("dgl", 2, gib=1, split_policy=policy) for policy in ("27,28", "balanced")]
    (comparison,) = compare(rows)
    shown = [(row.module_count, row.split_policy) for row in comparison.rows]
    assert shown == [(2, "equal"), (2, "balanced"), (2, "27,28"), (16, "equal")]


def test_a_loader_in_the_step_is_another_setting(measured):
    synthetic = measured("e2e", step_seconds=(0.5,))
    loaded = replace(synthetic, case=replace(synthetic.case, data="loader"))
    assert len(compare([synthetic, loaded])) == 2
