"""Options of a case that move its numbers: where they are read, and what is said where they cannot be had."""

import pytest

from bench.cases import CaseError, make_case, sort_settings
from bench.simulator.allocator import AllocatorSettingError
from bench.simulator.simulate import NotSimulatedError, simulate_case
from bench.suites import load_suite

CASE = {"method": "e2e", "network": "cifar_resnet8", "batch_size": 64}


def test_allocator_settings_have_one_form():
    assert sort_settings(" max_split_size_mb : 64, expandable_segments:True,") == (
        "expandable_segments:True,max_split_size_mb:64"
    )
    assert sort_settings("max_split_size_mb:20,max_split_size_mb:64") == "max_split_size_mb:64"
    assert sort_settings("roundup_power2_divisions:[256:1,>:4]") == "roundup_power2_divisions:[256:1,>:4]"
    assert sort_settings("") == ""


@pytest.mark.parametrize("text", ["big", "a:", ":1", "A B:1"])
def test_what_is_no_setting_is_refused_with_the_form(text):
    with pytest.raises(AllocatorSettingError, match=r"cannot read allocator setting '.*': write name:value"):
        sort_settings(text)


def test_allocator_settings_of_a_case_are_simulated():
    plain, rounded = (
        simulate_case(make_case(**CASE, allocator=text))[0]
        for text in ("", "roundup_power2_divisions:1,garbage_collection_threshold:0.8,roundup_power2_divisions:2")
    )
    assert plain.peak_requested_bytes == rounded.peak_requested_bytes
    assert plain.peak_allocated_bytes < rounded.peak_allocated_bytes


def test_a_setting_that_is_not_simulated_is_refused_by_name():
    case = make_case(**CASE, allocator="pinned_use_cuda_host_register:True")
    with pytest.raises(AllocatorSettingError, match="pinned_use_cuda_host_register:True"):
        simulate_case(case)


def test_a_compiled_case_is_not_simulated():
    with pytest.raises(NotSimulatedError, match=r"not simulated \(compile: max-autotune\)"):
        simulate_case(make_case(**CASE, compile="max-autotune"))


def test_an_unknown_mode_of_compiling_is_refused_with_those_there_are():
    with pytest.raises(CaseError, match="unknown compile mode 'fast': there are none, default, reduce-overhead, max"):
        make_case(**CASE, compile="fast")


def test_options_are_keys_of_a_grid(tmp_path):
    path = tmp_path / "own.toml"
    path.write_text(
        '[[grid]]\nnetworks = ["cifar_resnet8"]\nmethods = ["e2e"]\nmodules = [1]\nbatch_size = 8\n'
        'compile = "default"\n\n'
        '[[grid]]\nnetworks = ["cifar_resnet8"]\nmethods = ["e2e"]\nmodules = [1]\nbatch_size = 8\n'
        'allocator = "max_split_size_mb:64"\ndata = "loader"\n'
    )
    suite = load_suite(str(path))
    compiled, loaded = suite.measured_cases("cuda")
    assert (compiled.compile, loaded.allocator, loaded.data) == ("default", "max_split_size_mb:64", "loader")
    (simulated,) = suite.simulated_cases()
    assert (simulated.allocator, simulated.data) == ("max_split_size_mb:64", "synthetic")


def test_options_of_a_run_hold_for_all_cases_of_a_suite():
    suite = load_suite("smoke").with_options(precision="bfloat16", tf32=False, optimizer=None)
    assert {(case.precision, case.tf32, case.optimizer) for case in suite.measured_cases("cuda")} == {
        ("bfloat16", False, "sgd")
    }
