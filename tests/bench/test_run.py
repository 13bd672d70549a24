"""Whole runs: resume, faults, interrupts, two runs at once; with real processes on a tiny network."""

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from bench import run as run_module
from bench.cases import make_case
from bench.isolate import Outcome
from bench.probes.limits import Limits
from bench.run import Job, Settings, run_jobs
from results.record import Environment, Readings
from results.store import StoreError, open_run, read_runs

ROOT = Path(__file__).parents[2]
SETTINGS = Settings(limits=Limits(minimum_pairs=2, maximum_pairs=2, maximum_seconds=0), time_limit=120)


def jobs(*methods, batch=4, provenances=("simulated", "measured")):
    cases = [
        make_case(
            method=method,
            network="cifar_resnet8@8",
            module_count=1 if method == "e2e" else 2,
            batch_size=batch,
        )
        for method in methods
    ]
    return [
        Job(case=case, provenance=provenance, device="cuda" if provenance == "simulated" else "cpu")
        for provenance in provenances
        for case in cases
    ]


class Seen(list):
    def __call__(self, row, done, total):
        self.append((row and (row.case.method, row.provenance, row.status), done, total))


@pytest.fixture
def outcomes(monkeypatch):
    """Replace processes by scripted outcomes: a function of case and provenance."""
    environment = Environment(
        peakbench_version="0", simulator_version=1, torch_version="0", torchvision_version=None, cuda_version=None,
        cudnn_version=None, driver_version=None, python_version="3", operating_system="x", device_name="x",
        device_memory_bytes=1, cpu_name="x", cpu_count=1, thread_count=1, git_commit=None, git_dirty=None,
    )  # fmt: skip
    calls = []
    script = {}

    def fake(function, *arguments, **_):
        if function.endswith(":environment"):
            return Outcome(status="ok", result=environment, seconds=0.1)
        case = arguments[0]
        name = function.partition(":")[2]
        calls.append((case.method, name))
        return script.get((case.method, name), Outcome(status="ok", result=Readings(), seconds=1.0))

    monkeypatch.setattr(run_module, "run_isolated", fake)
    return calls, script


def test_every_case_is_simulated_and_measured_in_a_real_process(tmp_path):
    rows = run_jobs(jobs("e2e", "infopro[contrast]"), tmp_path, "tiny", SETTINGS, Seen())
    assert [row.status for row in rows] == ["ok"] * 4
    simulated, measured = rows[1].readings, rows[3].readings
    assert simulated.peak_allocated_bytes > 0
    assert simulated.step_seconds is None
    assert measured.peak_allocated_bytes is None
    assert len(measured.step_seconds) == len(measured.reference_step_seconds) == 2
    assert len(measured.inference_seconds) == len(measured.reference_inference_seconds) == 2
    assert min(*measured.step_seconds, *measured.inference_seconds) > 0
    assert measured.last_loss != measured.first_loss
    assert read_runs(tmp_path) == rows


def test_a_finished_run_does_nothing_when_run_again(tmp_path, outcomes):
    calls, _ = outcomes
    first = run_jobs(jobs("e2e", "dgl"), tmp_path, "tiny", SETTINGS, Seen())
    files = sorted(tmp_path.glob("*.parquet"))
    calls.clear()
    seen = Seen()
    assert run_jobs(jobs("e2e", "dgl"), tmp_path, "tiny", SETTINGS, seen) == first
    assert calls == []
    assert seen == [(None, 4, 4)]
    assert sorted(tmp_path.glob("*.parquet")) == files


def test_a_fault_is_a_row_and_the_suite_goes_on(tmp_path, outcomes):
    _, script = outcomes
    script["dgl", "measure"] = Outcome(status="failed", phase="training step", message="planted", seconds=2.0)
    script["greedy", "measure"] = Outcome(status="timeout", phase="inference", message="late", seconds=3.0)
    script["contsup[E]", "simulate"] = Outcome(status="out_of_memory", phase="simulate", message="full", seconds=1.0)
    rows = run_jobs(jobs("e2e", "dgl", "greedy", "contsup[E]"), tmp_path, "tiny", SETTINGS, Seen())
    assert Counter(row.status for row in rows) == {"ok": 5, "failed": 1, "timeout": 1, "out_of_memory": 1}
    failed = next(row for row in read_runs(tmp_path) if row.status == "failed")
    assert (failed.case.method, failed.phase, failed.message) == ("dgl", "training step", "planted")
    assert failed.wall_seconds == 2.0


def test_a_resumed_run_tries_failed_cases_again_and_keeps_the_others(tmp_path, outcomes):
    calls, script = outcomes
    script["dgl", "measure"] = Outcome(status="failed", phase="x", message="planted", seconds=1.0)
    script["e2e", "measure"] = Outcome(status="out_of_memory", phase="x", message="full", seconds=1.0)
    run_jobs(jobs("e2e", "dgl"), tmp_path, "tiny", SETTINGS, Seen())
    calls.clear()
    script.clear()
    rows = run_jobs(jobs("e2e", "dgl"), tmp_path, "tiny", SETTINGS, Seen())
    assert calls == [("dgl", "measure")]
    assert [row.status for row in rows] == ["ok", "ok", "out_of_memory", "ok"]
    assert sorted(row.status for row in read_runs(tmp_path)) == ["ok", "ok", "ok", "out_of_memory"]


def test_rows_are_on_disk_as_soon_as_they_are_reported(tmp_path, outcomes):
    on_disk = []

    def observe(row, done, total):
        if row is not None:
            on_disk.append(len(read_runs(tmp_path)) == done)

    run_jobs(jobs("e2e", "dgl", "greedy"), tmp_path, "tiny", SETTINGS, observe)
    assert on_disk == [True] * 6


def test_an_interrupt_between_cases_loses_nothing_finished(tmp_path, outcomes):
    def observe(row, done, total):
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_jobs(jobs("e2e", "dgl", "greedy"), tmp_path, "tiny", SETTINGS, observe)
    assert len(read_runs(tmp_path)) == 3
    assert len(run_jobs(jobs("e2e", "dgl", "greedy"), tmp_path, "tiny", SETTINGS, Seen())) == 6


def test_two_runs_into_one_folder_are_refused(tmp_path, outcomes):
    with open_run(tmp_path, "other"), pytest.raises(StoreError, match=r"another run \(pid"):
        run_jobs(jobs("e2e"), tmp_path, "tiny", SETTINGS, Seen())


def test_another_batch_size_is_another_case(tmp_path, outcomes):
    calls, _ = outcomes
    run_jobs(jobs("e2e"), tmp_path, "tiny", SETTINGS, Seen())
    calls.clear()
    run_jobs(jobs("e2e", batch=8), tmp_path, "tiny", SETTINGS, Seen())
    assert len(calls) == 2


def test_a_case_that_takes_too_long_is_stopped_for_real(tmp_path):
    slow = make_case(method="e2e", network="resnet110", batch_size=256)
    job = Job(case=slow, provenance="measured", device="cpu")
    (row,) = run_jobs([job], tmp_path, "slow", replace(SETTINGS, time_limit=3.0), Seen())
    assert row.status == "timeout"
    assert row.phase in ("build", "training step", "memory")
    assert "time limit of 3 s" in row.message


def test_a_case_that_does_not_fit_is_out_of_memory_for_real(tmp_path):
    huge = make_case(method="e2e", network="resnet110@1024", batch_size=100_000)
    job = Job(case=huge, provenance="measured", device="cpu")
    (row,) = run_jobs([job], tmp_path, "huge", SETTINGS, Seen())
    assert row.status == "out_of_memory"
    assert row.phase == "build"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_killed_run_keeps_its_finished_cases_and_resumes(tmp_path, number):
    command = [sys.executable, "-m", "bench", "run", "smoke", "--out", str(tmp_path)]
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"COLUMNS": "200"},
        # Tests that run in the background inherit an ignored SIGINT.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509 - there are no threads
    )
    for line in process.stderr:
        if line.startswith("[3/"):
            break
    time.sleep(0.1)
    process.send_signal(number)
    process.wait(timeout=60)
    process.stderr.close()
    assert process.returncode == (-signal.SIGKILL if number == signal.SIGKILL else 130)
    rows = read_runs(tmp_path)
    assert len(rows) >= 3
    assert all(row.status == "ok" for row in rows)
    with open_run(tmp_path, "next") as writer:
        assert len(writer.earlier) == len(rows)
