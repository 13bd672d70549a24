"""Real processes with planted faults."""

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from bench import isolate
from bench.isolate import is_out_of_memory, run_isolated

LIMIT = 60.0


def run(name, *arguments, **options):
    options.setdefault("time_limit", LIMIT)
    return run_isolated(f"tests.bench.planted:{name}", *arguments, **options)


def test_a_result_comes_back():
    outcome = run("add", 2, 3)
    assert (outcome.status, outcome.result, outcome.phase, outcome.message) == ("ok", 5, None, None)
    assert 0 < outcome.seconds < LIMIT


def test_every_call_has_a_fresh_process():
    first, second = run("process_facts").result, run("process_facts").result
    assert len({first["pid"], second["pid"], os.getpid()}) == 3
    assert not first["cuda_started"]


def test_an_error_is_an_outcome_with_its_phase():
    outcome = run("fail")
    assert (outcome.status, outcome.phase, outcome.message) == ("failed", "before the fault", "ValueError: planted")


def test_a_killed_process_is_an_outcome_that_names_the_signal():
    outcome = run("kill_itself")
    assert (outcome.status, outcome.phase) == ("failed", "about to die")
    assert "killed by SIGKILL" in outcome.message


def test_a_process_that_leaves_without_a_result_is_an_outcome():
    outcome = run("leave")
    assert (outcome.status, outcome.phase) == ("failed", "leaving")
    assert outcome.message == "the process ended with exit code 7 and no result"


def test_a_function_that_does_not_exist_is_an_outcome():
    outcome = run("no_such_function")
    assert outcome.status == "failed"
    assert "no_such_function" in outcome.message


def test_a_hang_is_stopped_at_the_time_limit_together_with_its_children(tmp_path):
    outcome = run("sleep_with_child", str(tmp_path), time_limit=5.0)
    assert (outcome.status, outcome.phase) == ("timeout", "sleeping with a child")
    assert outcome.message == "stopped after the time limit of 5 s"
    for name in ("self", "child"):
        pid = int((tmp_path / name).read_text())
        assert not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_an_allocation_that_cannot_be_is_out_of_memory():
    outcome = run("allocate_too_much")
    assert (outcome.status, outcome.phase) == ("out_of_memory", "one huge tensor")


def test_memory_that_runs_out_bit_by_bit_is_out_of_memory_and_not_a_kill(monkeypatch):
    small = psutil.virtual_memory()._replace(available=2**28)
    monkeypatch.setattr(isolate.psutil, "virtual_memory", lambda: small)
    outcome = run("fill_memory", limit_memory=True)
    assert (outcome.status, outcome.phase) == ("out_of_memory", "filling")


def test_a_stop_ends_a_call_at_once():
    stop = threading.Event()
    threading.Timer(0.5, stop.set).start()
    start = time.monotonic()
    outcome = run("sleep", 60, stop=stop)
    assert outcome.status == "failed"
    assert time.monotonic() - start < 30


def test_nothing_outlives_a_parent_that_is_killed(tmp_path):
    code = (
        "from bench.isolate import run_isolated; import sys;"
        "run_isolated('tests.bench.planted:sleep_with_child', sys.argv[1], time_limit=60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], cwd=Path(__file__).parents[2])
    deadline = time.monotonic() + LIMIT
    while not (tmp_path / "self").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    worker = int((tmp_path / "self").read_text())
    parent.kill()
    parent.wait()
    while psutil.pid_exists(worker) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not psutil.pid_exists(worker)
    psutil.Process(int((tmp_path / "child").read_text())).kill()


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (MemoryError(), True),
        (RuntimeError("[enforce fail at alloc_cpu.cpp:127] . DefaultCPUAllocator: can't allocate memory"), True),
        (RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 8 bytes"), True),
        (RuntimeError("CUDA error: out of memory"), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_errors_that_say_memory_ran_out_are_told_from_others(error, expected):
    assert is_out_of_memory(error) is expected
