"""Runs that are killed or interrupted at any moment, that fill the disk, that run at once: nothing finished is lost.

Ten moments here, a hundred in `nox -s faults`. Their processes do not import torch.
"""

import os
import random
import resource
import signal
import subprocess
import sys
import time
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest

from bench import devices
from results.store import open_run, read_runs

ROOT = Path(__file__).parents[2]
TRIES = int(os.environ.get("PEAKBENCH_KILLS", "10"))
CASES_PER_TRY = 3
RUN = """
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from bench.attempt import attempt
from bench.run import run_jobs
from tests.bench.engine import SETTINGS, gpus, make_jobs
folder, notes, count = sys.argv[1:]
job, = make_jobs("e2e", device="cuda", provenances=("measured",))
jobs = [replace(job, case=replace(job.case, module_count=k)) for k in range(1, int(count) + 1)]
do = partial(attempt, functions={("measured", "step"): "tests.bench.planted:measure_and_note"})
def observe(now):
    print("row" if now.row else "-", now.row.case.module_count if now.row else now.words, flush=True)
run_jobs(jobs, Path(folder), "x", replace(SETTINGS, data_root=notes), gpus(2), observe, do=do)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_run_that_is_ended_at_any_moment_loses_nothing_finished(number, tmp_path, monkeypatch):
    folder, notes = tmp_path / "out", tmp_path / "notes"
    notes.mkdir()
    monkeypatch.setenv(devices.LOCK_FOLDER, str(tmp_path))
    count, moments = TRIES // 2 * CASES_PER_TRY, random.Random(f"{number} {TRIES}")
    reported = Counter()
    ended_early = 0
    for _ in range(TRIES // 2):
        with start(folder, notes, count) as run:
            first = next((line for line in run.stdout if line.startswith("row")), None)
            time.sleep(moments.uniform(0, 0.4))
            run.send_signal(number)
            lines = [first, *run.stdout] if first else []
        reported.update(int(line.split()[1]) for line in lines if line.startswith("row"))
        ended_early += run.returncode != 0
        assert set(reported) <= {row.case.module_count for row in readable(folder)}
    assert ended_early > TRIES // 5, "too few cases for so many tries"
    with start(folder, notes, count) as run:
        assert run.wait() == 0, run.stdout.read()
    rows = read_runs(folder)
    assert sorted(row.case.module_count for row in rows) == list(range(1, count + 1))
    assert all(row.status == "ok" and row.readings.parameter_count == row.case.module_count for row in rows)
    assert not (folder / ".rows").exists()
    begun = Counter(int(line) for line in (notes / "begun").read_text().split())
    if number == signal.SIGKILL:  # what was under way finished without its run, and was found by the next
        assert set(begun.values()) == {1}
    else:  # at most one case on each of two devices was ended in every try
        assert sum(begun.values()) <= count + 2 * TRIES // 2
    assert max(reported.values()) == 1


def test_a_run_whose_disk_is_full_says_so_and_the_next_finishes_it(tmp_path, monkeypatch):
    monkeypatch.setenv(devices.LOCK_FOLDER, str(tmp_path))
    with start(tmp_path / "out", tmp_path, 2) as run:
        assert run.wait() == 0
    with start(tmp_path / "out", tmp_path, 4, most_bytes=20_000) as run:
        assert run.wait() == 1
    assert [row.status for row in readable(tmp_path / "out")] == ["ok", "ok"]
    with start(tmp_path / "out", tmp_path, 4) as run:
        assert run.wait() == 0
    assert sorted(row.case.module_count for row in read_runs(tmp_path / "out")) == [1, 2, 3, 4]


def test_two_runs_at_once_never_use_one_device_for_two_cases(tmp_path, monkeypatch):
    monkeypatch.setenv(devices.LOCK_FOLDER, str(tmp_path))
    with start(tmp_path / "one", tmp_path, 5) as one, start(tmp_path / "two", tmp_path, 5) as two:
        assert (one.wait(), two.wait()) == (0, 0)
    lines = [line.split() for line in (tmp_path / "busy").read_text().splitlines()]
    assert len(lines) == 10
    for device in ("0", "1"):
        spans = sorted((float(begin), float(end)) for name, begin, end in lines if name == device)
        assert all(end <= begin for (_, end), (begin, _) in pairwise(spans))


def start(folder, notes, count, most_bytes=resource.RLIM_INFINITY):
    def prepare():
        # Tests that run in the background inherit an ignored SIGINT.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, most_bytes))

    return subprocess.Popen(
        [sys.executable, "-c", RUN, str(folder), str(notes), str(count)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        preexec_fn=prepare,  # noqa: PLW1509 - there are no threads
    )


def readable(folder):
    """The rows that the next run into the folder begins with."""
    with open_run(folder, "look", patience=60) as writer:
        assert writer.refused == ()
        return writer.earlier
