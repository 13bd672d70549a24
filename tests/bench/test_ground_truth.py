"""The simulator beside everything that devices said: each file of `results/reference`, whatever made it.

A stand-in whose kernels do nothing has torch's own allocator, so that errors are none; on a real device cuDNN and the
driver have a say as well.
"""

import json
import re
from dataclasses import replace
from inspect import signature
from pathlib import Path

import pytest

from bench import worker
from bench.cases import make_case
from bench.ground_truth import GroundTruthError, read_ground_truth, write_ground_truth
from bench.simulator.model import read_model
from bench.suites import load_suite
from bench.validate import Comparison, ValidationError, compare, record_truth, summarise
from bench.worker import simulate_truth
from tests.bench.reference import name_file

FILES = sorted((Path(__file__).parents[2] / "results" / "reference").glob("*.json"))
MOST = {"requested": (0.005, 0.02), "allocated": (0.005, 0.02), "reserved": (0.03, 0.15)}
"""Median and worst error allowed beside a real device."""
STAND_IN = next(path for path in FILES if path.stem == "hollow-H200")


def rows_of(truth):
    simulated = simulate_truth(truth, lambda _: None)
    return [Comparison(truth=case, simulated=peaks) for case, peaks in zip(truth.cases, simulated, strict=True)]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_simulator_says_what_the_device_said(path):
    truth = read_ground_truth(path)
    summaries = list(summarise(rows_of(truth)))
    assert len(summaries) == 6
    for one in summaries:
        most_median, most = (0, 0) if truth.device["stand_in"] else MOST[one.kind]
        assert one.median <= most_median, one
        assert abs(one.worst) <= most, one


def test_an_error_is_seen_with_its_case():
    truth = read_ground_truth(STAND_IN)
    wrong = truth.cases[3]
    peaks = {**wrong.steady, "allocated": int(wrong.steady["allocated"] * 1.25)}
    cases = (*truth.cases[:3], replace(wrong, steady=peaks), replace(truth.cases[4], steady=None, first=None))
    rows = rows_of(replace(truth, cases=cases))
    found = {(one.step, one.kind): one for one in summarise(rows)}
    bad = found.pop(("steady", "allocated"))
    assert (bad.exact_count, bad.case_count, bad.worst_label) == (3, 4, wrong.case.label)
    assert bad.worst == pytest.approx(-0.2, abs=1e-6)
    assert all(one.worst == 0 for one in found.values())


def test_workspaces_matter_to_the_comparison():
    """Were the file's workspaces not used, the stand-in's peaks could not be met."""
    truth = read_ground_truth(STAND_IN)
    assert any(not line.endswith(",0,0,0") for line in truth.workspaces[1:])
    header, *layers = truth.workspaces
    nothing = tuple(",".join((*line.split(",")[:-3], "0", "0", "0")) for line in layers)
    without = replace(truth, workspaces=(header, *nothing), cases=truth.cases[:3])
    assert any(one.worst for one in summarise(rows_of(without)))


def test_a_file_is_read_as_it_was_written(tmp_path):
    truth = read_ground_truth(STAND_IN)
    write_ground_truth(tmp_path / "again.json", truth)
    assert read_ground_truth(tmp_path / "again.json") == truth
    assert (tmp_path / "again.json").read_text() == STAND_IN.read_text()


def test_a_file_serves_as_measured_workspaces():
    model = read_model("H200", workspace=f"measured:{STAND_IN}")
    case = read_ground_truth(STAND_IN).cases[0].case
    assert make_case(method="e2e", network="resnet32", batch_size=case.batch_size) == case
    assert model.workspace == "measured"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda values: values.pop("device"), "lacks or has too much: 'device'"),
        (lambda values: values.update(kind="other"), "is no ground truth"),
        (lambda values: values.update(version=99), "written by a newer peakbench"),
        (lambda values: values["cases"][0].update(colour="red"), "colour"),
    ],
)
def test_a_file_that_is_no_ground_truth_is_refused(change, message, tmp_path):
    values = json.loads(STAND_IN.read_text())
    change(values)
    path = tmp_path / "bad.json"
    path.write_text(json.dumps(values))
    with pytest.raises(GroundTruthError, match=message):
        read_ground_truth(path)


def test_a_file_that_is_missing_is_refused(tmp_path):
    with pytest.raises(GroundTruthError, match="cannot read ground truth"):
        read_ground_truth(tmp_path / "none.json")


def test_without_a_device_there_is_nothing_to_validate_against(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    case = make_case(method="e2e", network="cifar_resnet8", batch_size=2)
    with pytest.raises(ValidationError, match="there is no CUDA device to validate against"):
        record_truth([case], time_limit=60)


def test_no_case_is_begun_after_the_limit(monkeypatch):
    truth, case = read_ground_truth(STAND_IN), make_case(method="e2e", network="cifar_resnet8", batch_size=2)
    described = {name: getattr(truth, name) for name in ("device", "versions", "allocator", "context_bytes")}
    answers = {"describe_device": described, "place_cases": [case], "list_convolutions": [], "measure_workspaces": ()}
    monkeypatch.setattr("bench.validate._ask", lambda name, *_, **__: answers[name.partition(":")[2]])
    assert record_truth([case], time_limit=60, total_limit=0).cases == ()


def test_whatever_is_called_in_a_process_of_its_own_takes_a_report_last():
    sources = [path.read_text() for path in (Path(__file__).parents[2] / "bench").rglob("*.py")]
    names = {name for text in sources for name in re.findall(r'"bench\.worker:(\w+)"', text)}
    assert {"measure", "place_cases", "simulate_truth"} <= names
    assert {name: list(signature(getattr(worker, name)).parameters)[-1] for name in names} == dict.fromkeys(
        names, "report"
    )


@pytest.mark.gpu
def test_this_machine_s_device_agrees():
    """The truth is kept first, whatever becomes of the comparison."""
    truth = record_truth(load_suite("reference").simulated_cases(), time_limit=60)
    write_ground_truth(name_file(truth.device["title"], truth.versions["torch"], ".json"), truth)
    assert {one.status for one in truth.cases} == {"ok"}, [one.message for one in truth.cases]
    for one in summarise(compare(truth, time_limit=60)):
        assert abs(one.worst) <= MOST[one.kind][1], one
