"""Real processes with planted faults."""

import errno
import fcntl
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import psutil
import pytest
import torch

from bench.isolate import Stop, is_out_of_memory, run_isolated

LIMIT = 60.0


def run(name, *arguments, module="planted", **options):
    """In a new interpreter: it starts within milliseconds as long as nothing imports torch."""
    options = {"time_limit": LIMIT, "variables": {}} | options
    return run_isolated(f"tests.bench.{module}:{name}", *arguments, **options)


def test_a_result_comes_back():
    outcome = run("add", 2, 3)
    assert (outcome.status, outcome.result, outcome.phase, outcome.message) == ("ok", 5, None, None)
    assert 0 < outcome.seconds < LIMIT


def test_a_result_may_be_large():
    assert len(run("return_much").result) == 10**7


@pytest.mark.parametrize("variables", [None, {}])
def test_every_call_has_a_fresh_process_that_leads_its_group_and_dies_first_where_memory_runs_out(variables):
    first, second = (run("tell", variables=variables).result for _ in range(2))
    assert len({first["pid"], second["pid"], os.getpid()}) == 3
    assert first["group"] == first["pid"]
    assert first["victim"] == "1000"
    assert first["torch"] is (variables is None)


def test_the_forked_process_has_no_cuda_context():
    assert run("tell_cuda", module="planted_torch", variables=None).result is False


def test_variables_are_those_of_the_new_interpreter_alone(monkeypatch):
    monkeypatch.setenv("TO_GO", "1")
    told = run("tell", variables={"PLANTED": "yes", "TO_GO": None}).result["variables"]
    assert told["PLANTED"] == "yes"
    assert "TO_GO" not in told
    assert "PLANTED" not in os.environ


@pytest.mark.parametrize("variables", [None, {}])
def test_descriptors_that_are_held_are_open_in_the_process(variables, tmp_path):
    with (tmp_path / "lock").open("w") as lock:
        assert str(tmp_path / "lock") in run("tell", variables=variables, held=[lock.fileno()]).result["files"]


@pytest.mark.parametrize(
    ("name", "phase", "message"),
    [
        ("fail", "before the fault", "ValueError: planted"),
        ("fail_unspeakably", None, "UnspeakableError: no text"),
        ("fail_in_foreign_letters", "lone \\ud800", "ValueError: lone \\udcff"),
        ("leave_as_a_program", None, "SystemExit: 3"),
        ("leave", "leaving", "the process ended with exit code 7 and no result"),
        ("return_what_cannot_be_pickled", "returning", "TypeError: cannot pickle '_thread.lock' object"),
    ],
)
def test_whatever_goes_wrong_is_an_outcome_with_its_phase(name, phase, message):
    outcome = run(name)
    assert (outcome.status, outcome.phase, outcome.message) == ("failed", phase, message)


def test_a_result_that_cannot_be_read_back_is_an_outcome():
    outcome = run("return_what_cannot_be_unpickled")
    assert (outcome.status, outcome.phase) == ("failed", "returning")
    assert outcome.message.startswith("the result cannot be read back: ValueError: invalid literal")


def test_a_long_message_is_cut():
    assert run("fail_at_length").message.endswith("xxx ... (1000012 characters)")


def test_a_function_that_does_not_exist_is_an_outcome():
    outcome = run("no_such_function")
    assert outcome.status == "failed"
    assert "no_such_function" in outcome.message


def test_a_killed_process_is_an_outcome_that_names_the_signal_and_quotes_its_last_words():
    outcome = run("kill_itself", signal.SIGKILL)
    assert (outcome.status, outcome.phase) == ("failed", "about to die")
    assert outcome.message.startswith("the process was killed by SIGKILL")
    assert outcome.message.endswith("last words")


@pytest.mark.parametrize("variables", [None, {}])
def test_a_crash_is_an_outcome_that_says_where(variables):
    outcome = run("crash", variables=variables)
    assert (outcome.status, outcome.phase) == ("failed", "about to crash")
    assert outcome.message.startswith("the process was killed by SIGSEGV, in string_at (ctypes/__init__.py, line ")


def test_a_hang_is_stopped_at_the_time_limit_together_with_its_children(tmp_path):
    outcome = run("sleep_with_child", str(tmp_path), time_limit=4.0)  # it starts within, on a busy machine too
    assert (outcome.status, outcome.phase) == ("timeout", "sleeping with a child")
    assert outcome.message.startswith("stopped after the time limit of 4 s, in sleep_with_child (bench/planted.py, ")
    for name in ("self", "child"):
        pid = int((tmp_path / name).read_text())
        assert not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


@pytest.mark.parametrize(
    ("name", "place"), [("stop_itself", ""), ("hold_python_lock", ", in hold_python_lock (bench/planted.py, line ")]
)
def test_a_process_without_heartbeat_is_told_from_a_slow_one(name, place):
    outcome = run(name, silence_limit=0.8)
    assert outcome.status == "failed"
    assert outcome.message.startswith(f"hung: no sign of life for 0.8 s{place}")


def test_a_slow_process_with_a_heartbeat_is_left_alone():
    assert run("sleep", 3.0, silence_limit=2.0).status == "ok"


def test_a_leak_is_out_of_memory_and_not_a_kill():
    outcome = run("leak", memory_limit=2**26)
    assert (outcome.status, outcome.phase) == ("out_of_memory", "leaking")


@pytest.mark.parametrize(("name", "options"), [("allocate_too_much", {}), ("fill_memory", {"memory_limit": 2**28})])
def test_tensors_that_do_not_fit_are_out_of_memory(name, options):
    assert run(name, module="planted_torch", variables=None, **options).status == "out_of_memory"


def test_a_stop_ends_a_call_at_once_and_those_to_come():
    stop = Stop()
    threading.Timer(0.3, stop.set).start()
    start = time.monotonic()
    outcomes = [run("sleep", 60, stop=stop) for _ in range(2)]
    assert [outcome.status for outcome in outcomes] == ["failed", "failed"]
    assert time.monotonic() - start < 30
    assert stop.is_set()


def test_what_a_process_left_in_the_background_ends_with_it():
    outcome = run("leave_a_child")
    assert outcome.status == "ok"
    assert wait_until(lambda: is_gone(outcome.result))


def test_a_fork_that_outlives_its_process_holds_no_lock(tmp_path):
    with (tmp_path / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        outcome = run("leave_a_fork", held=[lock.fileno()])
    try:
        assert outcome.status == "ok"
        with (tmp_path / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    finally:
        os.kill(outcome.result, signal.SIGKILL)


def test_what_would_steer_a_terminal_is_spelled_out():
    message = run("fail_in_colour").message
    assert message == "ValueError: \\x1b[31mred\\x1b]0;title\\x07\\x00 \\u202e\\r\nsecond line"


def test_a_process_that_cannot_be_started_is_an_outcome(monkeypatch):
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    outcome = run("add", 2, 3)
    assert (outcome.status, outcome.phase) == ("failed", "start")
    assert "No such file" in outcome.message


def test_no_room_for_temporary_files_is_an_outcome(monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    outcome = run("add", 2, 3)
    assert (outcome.status, outcome.phase) == ("failed", "start")


def test_a_kernel_without_descriptors_of_processes_will_do(monkeypatch):
    def refuse(pid):
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(os, "pidfd_open", refuse)
    assert run("add", 2, 3).result == 5
    assert run("leave").message == "the process ended with exit code 7 and no result"


def test_a_result_that_the_disk_does_not_take_is_an_outcome():
    outcome = run("return_more_than_the_disk_takes")
    assert (outcome.status, outcome.message) == ("failed", "OSError: [Errno 27] File too large")


CALL = (
    "from bench.isolate import run_isolated; import sys; name, argument, grace = sys.argv[1:];"
    "run_isolated(f'tests.bench.planted:{name}', argument, time_limit=60, variables={}, grace=float(grace))"
)


def kill_caller(name, argument, grace, begun):
    """Kill a process that waits for an isolated one, which has begun then."""
    command = [sys.executable, "-c", CALL, name, str(argument), str(grace)]
    with subprocess.Popen(command, cwd=Path(__file__).parents[2]) as caller:
        assert wait_until(begun.exists)
        caller.kill()


def wait_until(true):
    deadline = time.monotonic() + LIMIT
    while not true() and time.monotonic() < deadline:
        time.sleep(0.02)
    return true()


def is_gone(pid):
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_nothing_outlives_a_caller_that_is_killed(tmp_path):
    kill_caller("sleep_with_child", tmp_path, 0, tmp_path / "self")
    for name in ("self", "child"):
        pid = int((tmp_path / name).read_text())
        assert wait_until(lambda pid=pid: is_gone(pid))


@pytest.mark.parametrize(("grace", "finished"), [(30, True), (0.1, False)])
def test_a_process_whose_caller_died_has_its_grace_to_finish(tmp_path, grace, finished):
    kill_caller("finish_late", tmp_path / "result", grace, tmp_path / "result.begun")
    assert wait_until(lambda: is_gone(int((tmp_path / "result.begun").read_text())))
    assert (tmp_path / "result").exists() is finished


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (MemoryError(), True),
        (RuntimeError("[enforce fail at alloc_cpu.cpp:127] . DefaultCPUAllocator: can't allocate memory"), True),
        (RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 8 bytes"), True),
        (RuntimeError("CUDA error: out of memory"), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), True),
        (ValueError("out of memory"), False),
    ],
)
def test_errors_that_say_memory_ran_out_are_told_from_others(error, expected):
    assert is_out_of_memory(error) is expected


@pytest.mark.parametrize("refusals", [0, 1])
def test_no_engine_of_cudnn_is_out_of_memory_where_the_allocator_refused_one_its_workspace(refusals, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "memory_stats", lambda: {"num_ooms": refusals})
    error = RuntimeError("GET was unable to find an engine to execute this computation")
    assert is_out_of_memory(error) is bool(refusals)
