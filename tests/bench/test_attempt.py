"""Attempts at cases in real processes: every fault is a row, and the row comes back through a file."""

import json
from dataclasses import replace
from functools import partial

import psutil
import pytest

from bench import devices
from bench.attempt import attempt, begin_row, choose_variables, read_row
from bench.cases import make_case
from bench.devices import Device
from bench.isolate import Outcome
from bench.jobs import Job
from bench.run import run_jobs
from results.store import open_run, read_file, read_runs, write_file
from tests.bench.engine import CPU, ENVIRONMENT, SETTINGS, Seen, make_jobs

PLANTED = {("measured", "step"): "tests.bench.planted:measure"}
GPU = Device(kind="cuda", place="cuda:0", key="GPU-0", variables={"CUDA_VISIBLE_DEVICES": "0"}, environment=ENVIRONMENT)
"""Its processes are new interpreters, which start within milliseconds because nothing there imports torch."""
JOB = Job(case=make_case(method="e2e", network="cifar_resnet8@8", batch_size=4), provenance="measured", device="cuda")
LONG_ENOUGH = 4.0
"""Seconds in which such a process comes to what it does, on a busy machine too."""


def attempt_planted(name, file, **options):
    settings = replace(SETTINGS, data_root=json.dumps({"1": name} if name else {}))
    return attempt(JOB, ENVIRONMENT, GPU, file, replace(settings, **options), held=(), functions=PLANTED)


@pytest.fixture
def file(tmp_path):
    return tmp_path / "row.parquet"


def test_the_row_is_in_the_file_and_comes_back(file):
    row = attempt_planted(None, file)
    assert (row.status, row.phase, row.message, row.readings.parameter_count) == ("ok", None, None, 1)
    (left,) = read_file(file)
    assert replace(left, wall_seconds=row.wall_seconds) == row
    assert 0 < left.wall_seconds <= row.wall_seconds


@pytest.mark.parametrize(
    ("name", "status", "message"),
    [
        ("fail", "failed", "ValueError: planted"),
        ("fail_on_the_device", "failed", "RuntimeError: CUDA error: an illegal memory access"),
        ("fail_in_foreign_letters", "failed", r"ValueError: lone \udcff"),
        ("leave", "failed", "the process ended with exit code 7 and no result"),
        ("segfault", "failed", "the process was killed by SIGSEGV, in segfault (bench/planted.py, line "),
        ("be_killed", "failed", "the process was killed by SIGKILL (the kernel does that when memory runs out)"),
        ("return_no_readings", "failed", "TypeError: tests.bench.planted:measure gave a str, not readings"),
        ("return_foreign_letters", "failed", "UnicodeEncodeError: "),
        ("return_a_number_too_large", "failed", "OverflowError: "),
        ("write_half_a_row", "failed", "the process ended with exit code 0 and no result; its row is refused: "),
        ("fill_the_disk", "failed", "StoreError: cannot write "),
    ],
)
def test_a_fault_is_a_row_with_phase_and_message(name, status, message, file):
    row = attempt_planted(name, file)
    assert row.status == status
    assert row.phase is not None
    assert row.message.startswith(message), row.message
    write_file(file, [row])  # whatever the message holds
    assert read_file(file) == [row]


def test_a_case_past_its_time_limit_is_a_row(file):
    row = attempt_planted("hang", file, time_limit=LONG_ENOUGH)
    assert (row.status, row.phase) == ("timeout", "measure")
    assert row.message.startswith(f"stopped after the time limit of {LONG_ENOUGH:g} s, in hang")


def test_a_compiled_case_has_longer(file, monkeypatch):
    monkeypatch.setattr("bench.attempt.COMPILE_SECONDS", LONG_ENOUGH)
    job = replace(JOB, case=replace(JOB.case, compile="default"))
    settings = replace(SETTINGS, data_root=json.dumps({"1": "hang"}), time_limit=0.5)
    row = attempt(job, ENVIRONMENT, GPU, file, settings, held=(), functions=PLANTED)
    assert row.message.startswith(f"stopped after the time limit of {LONG_ENOUGH + 0.5:g} s, in hang")


def test_a_process_that_crashes_behind_its_row_is_finished(file):
    row = attempt_planted("die_behind_the_row", file)
    assert (row.status, row.readings.parameter_count) == ("ok", 1)


def test_a_leak_is_out_of_memory_on_a_cpu(file, monkeypatch):
    small = psutil.virtual_memory()._replace(available=2**26)
    monkeypatch.setattr("bench.attempt.psutil.virtual_memory", lambda: small)
    device = replace(GPU, kind="cpu")
    settings = replace(SETTINGS, data_root=json.dumps({"1": "leak"}))
    row = attempt(JOB, ENVIRONMENT, device, file, settings, held=(), functions=PLANTED)
    assert (row.status, row.phase) == ("out_of_memory", "leaking")


def test_an_old_file_in_the_place_of_the_row_is_not_taken_for_it(file):
    write_file(file, [begin_row(JOB, ENVIRONMENT)])
    assert attempt_planted("be_killed", file).message.startswith("the process was killed by SIGKILL")


def test_the_row_of_another_case_is_refused(file):
    write_file(file, [begin_row(replace(JOB, case=replace(JOB.case, batch_size=8)), ENVIRONMENT)])
    row = read_row(begin_row(JOB, ENVIRONMENT), file, Outcome(status="ok", seconds=1.0))
    assert row.status == "failed"
    assert "holds another case" in row.message


def test_the_allocator_of_a_case_is_in_the_environment_of_its_process(file, monkeypatch):
    monkeypatch.setenv("PYTORCH_CUDA_ALLOC_CONF", "max_split_size_mb:64")
    assert choose_variables(JOB, GPU) == {"CUDA_VISIBLE_DEVICES": "0"}
    job = replace(JOB, case=replace(JOB.case, allocator="expandable_segments:True"))
    assert choose_variables(job, GPU) == {
        "CUDA_VISIBLE_DEVICES": "0",
        "PYTORCH_ALLOC_CONF": "expandable_segments:True",
        "PYTORCH_CUDA_ALLOC_CONF": None,
    }
    assert choose_variables(job, CPU.devices[0]) is None


def test_faults_in_the_middle_of_a_suite_leave_the_others_alone(tmp_path, monkeypatch):
    monkeypatch.setenv(devices.LOCK_FOLDER, str(tmp_path))
    jobs = [replace(JOB, case=replace(JOB.case, module_count=k)) for k in range(1, 6)]
    settings = replace(SETTINGS, data_root=json.dumps({"2": "segfault", "3": "write_half_a_row", "5": "leave"}))
    machine = replace(CPU, devices=(GPU, replace(GPU, place="cuda:1", key="GPU-1")))
    do = partial(attempt, functions=PLANTED)
    rows = run_jobs(jobs, tmp_path / "out", "x", settings, machine, Seen(), do=do)
    assert [row.status for row in rows] == ["ok", "failed", "failed", "ok", "failed"]
    assert sorted(map(repr, read_runs(tmp_path / "out"))) == sorted(map(repr, rows))
    again = replace(SETTINGS, retry=frozenset({"failed"}))
    rows = run_jobs(jobs, tmp_path / "out", "x", again, machine, Seen(), do=do)
    assert [row.status for row in rows] == ["ok"] * 5


def test_every_case_is_simulated_and_measured_in_a_real_process(tmp_path, monkeypatch):
    monkeypatch.setenv(devices.LOCK_FOLDER, str(tmp_path))
    rows = run_jobs(make_jobs("e2e", "infopro[contrast]"), tmp_path / "out", "tiny", SETTINGS, CPU, Seen())
    assert [row.status for row in rows] == ["ok"] * 4, [row.message for row in rows]
    simulated, measured = rows[1].readings, rows[3].readings
    assert simulated.peak_allocated_bytes > 0
    assert simulated.step_seconds is None
    assert measured.peak_allocated_bytes is None
    assert len(measured.step_seconds) == len(measured.reference_step_seconds) >= 2
    assert min(*measured.step_seconds, *measured.inference_seconds) > 0
    assert measured.last_loss != measured.first_loss
    assert sorted(map(repr, read_runs(tmp_path / "out"))) == sorted(map(repr, rows))  # simulations end in any order


def test_a_case_that_does_not_fit_is_out_of_memory_for_real(file):
    huge = make_case(method="e2e", network="resnet110@1024", batch_size=100_000)
    job = Job(case=huge, provenance="measured", device="cpu")
    row = attempt(job, ENVIRONMENT, CPU.devices[0], file, SETTINGS, held=())
    assert row.status == "out_of_memory"


def test_a_run_takes_over_what_the_processes_of_another_left_and_refuses_the_rest_by_name(tmp_path):
    row = begin_row(JOB, ENVIRONMENT)
    with open_run(tmp_path, "killed") as writer:
        write_file(writer.row_file(row), [row])
        writer.row_file(row).with_name("half.parquet").write_bytes(b"PAR1")
        write_file(writer.row_file(row).with_name("foreign.parquet"), [row])
    with open_run(tmp_path, "next") as writer:
        assert writer.earlier == [row]
        assert [refusal.partition(" ")[0].rpartition("/")[2] for refusal in writer.refused] == [
            "foreign.parquet",
            "half.parquet",
        ]
    assert read_runs(tmp_path) == [row]
