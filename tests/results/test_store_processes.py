"""The store against other processes: locks between them, and what a killed one leaves."""

import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from results.store import StoreError, open_run, read_file, read_runs, write_file

ROOT = Path(__file__).parents[2]
PARTIAL = ".*.partial"

HOLD = """
import sys
from results.store import open_run
with open_run(sys.argv[1], "other"):
    print("open", flush=True)
    sys.stdin.read()
"""

LEAVE_A_CHILD = """
import os, subprocess, sys
from results.store import open_run, read_file, write_file
(row,) = read_file(sys.argv[2])
with open_run(sys.argv[1], "killed") as run:
    code = "import sys, time; print('up', flush=True); time.sleep(float(sys.argv[1]))"
    child = subprocess.Popen([sys.executable, "-c", code, sys.argv[3]], pass_fds=(run.lock,), stdout=subprocess.PIPE)
    child.stdout.readline()
    write_file(run.row_file(row), [row])
    print(child.pid, flush=True)
    os.kill(os.getpid(), 9)
"""

ADD_UNTIL_KILLED = """
import sys
from dataclasses import replace
from results.store import open_run, read_file
(row,) = read_file(sys.argv[2])
with open_run(sys.argv[1], "killed") as run:
    for count in range(1, 10**9):
        run.add(replace(row, case=replace(row.case, module_count=count)))
"""

DIE_BEFORE_RENAMING = """
import os, signal, sys
from pathlib import Path
from results.store import open_run, read_file
(row,) = read_file(sys.argv[2])
with open_run(sys.argv[1], "killed") as run:
    run.add(row)
    Path.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
    run.add(row)
"""

WRITE_ONTO_A_SMALL_DISK = """
import resource, sys
from results.store import StoreError, read_file, write_file
rows = read_file(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (1024, 1024))
try:
    write_file(sys.argv[1], rows * 2)
except StoreError as error:
    print(error)
"""


@contextmanager
def running(script, *arguments):
    command = [sys.executable, "-c", script, *map(str, arguments)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.fixture
def sample(tmp_path, measurement):
    write_file(tmp_path / "sample.parquet", [measurement])
    return tmp_path / "sample.parquet"


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


def test_two_runs_into_one_folder_at_once_are_refused(out):
    with running(HOLD, out) as other:
        assert other.stdout.readline() == "open\n"
        refused = rf"another run \(pid {other.pid}\) is writing to .*out; wait for it or choose another --out"
        with pytest.raises(StoreError, match=refused), open_run(out, "mine"):
            pytest.fail("the run was opened")


def test_the_lock_of_a_killed_run_does_not_block_the_next(out):
    with running(HOLD, out) as other:
        assert other.stdout.readline() == "open\n"
        other.send_signal(signal.SIGKILL)
        other.wait()
        with open_run(out, "mine"):
            assert (out / ".lock").read_text() == str(os.getpid())


def test_a_run_killed_between_measurements_or_within_one_leaves_a_readable_file(out, sample):
    with running(ADD_UNTIL_KILLED, out, sample) as run:
        deadline = time.monotonic() + 15
        while not list(out.glob("*.parquet")) and time.monotonic() < deadline:
            time.sleep(0.005)
        time.sleep(0.05)
        run.send_signal(signal.SIGKILL)
        run.wait()
    counts = [row.case.module_count for row in read_runs(out)]
    assert counts == list(range(1, len(counts) + 1))


def test_a_run_killed_before_renaming_keeps_the_old_file_and_its_leftover_is_removed_by_the_next(out, sample):
    with running(DIE_BEFORE_RENAMING, out, sample) as run:
        assert run.wait() == -signal.SIGKILL
    assert len(list(out.glob(PARTIAL))) == 1
    with open_run(out, "next") as following:
        assert following.earlier == read_file(sample)
    assert not list(out.glob(PARTIAL))


def test_a_file_the_system_will_not_let_grow_is_an_error_of_the_store_and_stays_as_it_was(sample, measurement):
    with running(WRITE_ONTO_A_SMALL_DISK, sample) as run:
        message = run.stdout.read()
    assert f"cannot write {sample}: File too large; choose another --out" in message
    assert read_file(sample) == [measurement]
    assert not list(sample.parent.glob(PARTIAL))


def test_a_run_waits_for_the_processes_of_one_that_died_and_takes_over_their_rows(out, sample, measurement):
    with running(LEAVE_A_CHILD, out, sample, 60) as killed:
        child = int(killed.stdout.readline())
        killed.wait()
    said = []

    def end_the_child_once_it_is_waited_for(message):
        said.append(message)
        os.kill(child, signal.SIGKILL)

    with open_run(out, "next", patience=30, tell=end_the_child_once_it_is_waited_for) as run:
        assert run.earlier == [measurement]
        assert read_file(run.path) == [measurement]
        assert not run.row_file(measurement).exists()
    assert said == [f"waiting up to 30 s for the last cases of a run that has died (pid {killed.pid})"]


def test_processes_that_do_not_end_are_named_in_the_refusal(out, sample):
    with running(LEAVE_A_CHILD, out, sample, 60) as killed:
        child = int(killed.stdout.readline())
        killed.wait()
    refused = rf"of a run that has died \(pid {killed.pid}\) still write to .*out; end them \(`fuser .*out/\.lock`\)"
    try:
        with pytest.raises(StoreError, match=refused), open_run(out, "next", patience=0.2):
            pytest.fail("the run was opened")
    finally:
        os.kill(child, signal.SIGKILL)


def test_rows_that_a_full_disk_does_not_take_over_stay_where_they_were(out, sample, measurement, monkeypatch):
    with running(LEAVE_A_CHILD, out, sample, 0) as killed:
        killed.wait()
    with monkeypatch.context() as full:
        full.setattr(os, "fsync", lambda _: os.write(os.open("/dev/full", os.O_WRONLY), b"x"))
        with pytest.raises(StoreError, match="No space left"), open_run(out, "next", patience=30):
            pytest.fail("the run was opened")
    with open_run(out, "after", patience=30) as run:
        assert run.earlier == [measurement]
