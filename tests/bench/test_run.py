"""The engine on a machine of its own making: order, resume, retry, failures, several GPUs, interrupts."""

import threading
from collections import Counter
from dataclasses import replace

import pytest

from bench import devices
from bench.devices import DeviceError, hold
from bench.run import run_jobs
from results.record import Readings
from results.store import StoreError, open_run, read_runs, write_file
from tests.bench.engine import CPU, SETTINGS, Script, Seen, gpus, make_jobs


@pytest.fixture(autouse=True)
def own_locks(monkeypatch, tmp_path_factory):
    monkeypatch.setenv(devices.LOCK_FOLDER, str(tmp_path_factory.mktemp("locks")))


@pytest.fixture
def do():
    return Script()


@pytest.fixture
def run(tmp_path, do):
    def run(*methods, settings=SETTINGS, machine=CPU, observe=None, **options):
        jobs = make_jobs(*methods, device=machine.devices[0].kind, **options)
        return run_jobs(jobs, tmp_path, "tiny", settings, machine, observe or Seen(), do=do)

    return run


def failed(phase="training step", status="failed", **fields):
    return {"status": status, "phase": phase, "message": "planted", **fields}


def retrying(*statuses):
    return replace(SETTINGS, retry=frozenset(statuses))


# order


def test_every_case_is_simulated_before_the_first_is_measured(run, do):
    rows = run("e2e", "dgl", "greedy")
    assert [provenance for _, provenance in do.asked] == ["simulated"] * 3 + ["measured"] * 3
    assert [(row.case.method, row.provenance) for row in rows] == [
        (method, provenance) for provenance in ("simulated", "measured") for method in ("e2e", "dgl", "greedy")
    ]


def test_on_a_cpu_measurements_keep_their_order_and_stay_alone(run, do):
    run("e2e", "dgl", "greedy")
    assert do.asked[3:] == [("e2e", "measured"), ("dgl", "measured"), ("greedy", "measured")]
    assert do.most_at_once["cpu"] == 1


def test_a_case_that_two_grids_share_is_one(run, do):
    assert len(run("e2e", "e2e", "dgl")) == len(do.asked) == 4


def flops(count):
    return {"readings": Readings(training_flops=count)}


def test_on_several_gpus_the_case_of_most_flops_is_begun_first(run, do):
    for method, count in (("e2e", 20), ("dgl", 10), ("greedy", 30)):
        do.outcomes[method, "simulated"] = flops(count)
    run("e2e", "dgl", "greedy", machine=gpus(2))
    assert ("greedy", "measured") in do.asked[3:5]  # two places begin at once
    assert set(do.places[3:]) <= {"cuda:0", "cuda:1"}


def test_a_case_measured_before_counts_as_long_as_it_took(run, do):
    do.outcomes["greedy", "measured"] = failed(status="timeout", wall_seconds=300.0)
    run("e2e", "dgl", "greedy", machine=gpus(2))
    do.asked.clear()
    run("e2e", "dgl", "greedy", machine=gpus(2), settings=retrying("ok", "timeout"))
    measured = [method for method, provenance in do.asked if provenance == "measured"]
    assert "greedy" in measured[:2]  # two places begin at once


def test_two_gpus_work_at_once_and_never_on_two_cases(run, do):
    both = threading.Barrier(2, timeout=10)
    methods = ("e2e", "dgl", "greedy", "contsup[E]")
    for method in methods:
        do.outcomes[method, "measured"] = lambda stop: both.wait() and None
    rows = run(*methods, machine=gpus(2))
    assert [row.status for row in rows] == ["ok"] * 8
    assert (do.most_at_once["cuda:0"], do.most_at_once["cuda:1"]) == (1, 1)


def test_a_gpu_that_another_run_holds_is_left_to_it_while_others_work(run, do):
    with hold("GPU-0", wanted=lambda: True, tell=print):
        run("e2e", "dgl", "greedy", machine=gpus(2))
    assert set(do.places[3:]) == {"cuda:1"}


def test_a_run_waits_for_the_only_device_and_says_for_whom(run, do):
    said = []
    free = threading.Event()

    def observe(now):
        if now.words:
            said.append(now.words)
            free.set()

    def hold_until_told():
        with hold("cpu", wanted=lambda: True, tell=print):
            held.set()
            free.wait(10)

    held = threading.Event()
    other = threading.Thread(target=hold_until_told)
    other.start()
    held.wait(10)
    rows = run("e2e", observe=observe, provenances=("measured",))
    other.join()
    assert [row.status for row in rows] == ["ok"]
    assert said[0].startswith("waiting for the CPU: another run (pid ")


def test_a_job_for_another_device_is_refused(tmp_path, do):
    with pytest.raises(DeviceError, match="does not measure on cuda: it has cpu"):
        run_jobs(make_jobs("e2e", device="cuda"), tmp_path, "tiny", SETTINGS, CPU, Seen(), do=do)


# rows


def test_a_fault_is_a_row_and_the_suite_goes_on(run, do, tmp_path):
    do.outcomes |= {
        ("dgl", "measured"): failed(wall_seconds=2.0),
        ("greedy", "measured"): failed("inference", status="timeout"),
        ("contsup[E]", "simulated"): failed("simulate", status="out_of_memory"),
    }
    rows = run("e2e", "dgl", "greedy", "contsup[E]")
    assert Counter(row.status for row in rows) == {"ok": 5, "failed": 1, "timeout": 1, "out_of_memory": 1}
    row = next(row for row in read_runs(tmp_path) if row.status == "failed")
    assert (row.case.method, row.phase, row.message, row.wall_seconds) == ("dgl", "training step", "planted", 2.0)


def test_rows_are_on_disk_as_soon_as_they_are_reported(run, tmp_path):
    on_disk = []

    def observe(now):
        if now.row is not None:
            on_disk.append(len(read_runs(tmp_path)) == now.done)

    run("e2e", "dgl", "greedy", observe=observe)
    assert on_disk == [True] * 6


def test_an_error_of_the_engine_itself_ends_the_run_and_keeps_what_is_finished(run, do, tmp_path):
    do.outcomes["dgl", "measured"] = ZeroDivisionError()
    with pytest.raises(ZeroDivisionError):
        run("e2e", "dgl")
    assert len(read_runs(tmp_path)) == 3


# resume and retry


def test_a_finished_run_does_nothing_when_run_again(run, do, tmp_path):
    first = run("e2e", "dgl")
    files = sorted(tmp_path.iterdir())
    do.asked.clear()
    assert run("e2e", "dgl") == first
    assert do.asked == []
    assert sorted(tmp_path.iterdir()) == files


def test_another_batch_size_is_another_case(run, do):
    run("e2e")
    do.asked.clear()
    run("e2e", batch=8)
    assert len(do.asked) == 2


def test_a_try_that_fails_later_is_told_of_and_hides_nothing(run, do, tmp_path):
    (first,) = run("e2e", provenances=("measured",))
    do.outcomes["e2e", "measured"] = failed()
    words = []
    (again,) = run(
        "e2e", provenances=("measured",), settings=retrying("ok"), observe=lambda now: words.append(now.words)
    )
    assert (first.status, again.status) == ("ok", "failed")
    assert "the row of 2026-01-01T00:00:00+00:00 stays: it is ok, and the new one is not" in words
    assert read_runs(tmp_path) == [first]


@pytest.mark.parametrize("retry", [(), ("failed",), ("timeout",), ("out_of_memory",), ("failed", "timeout"), ("ok",)])
def test_rows_are_made_again_where_their_outcome_is_retried_and_nowhere_else(run, do, retry):
    outcomes = {"e2e": "ok", "dgl": "failed", "greedy": "timeout", "contsup[E]": "out_of_memory"}
    do.outcomes = {(method, "measured"): failed(status=status) for method, status in outcomes.items()}
    run(*outcomes, provenances=("measured",))
    do.asked.clear()
    do.outcomes.clear()
    rows = run(*outcomes, provenances=("measured",), settings=retrying(*retry))
    again = [method for method, status in outcomes.items() if status in retry]
    assert [method for method, _ in do.asked] == again
    assert [row.status for row in rows] == ["ok" if m in again else status for m, status in outcomes.items()]


def test_an_old_row_stays_until_the_new_one_is_written(run, do, tmp_path):
    do.outcomes["dgl", "measured"] = failed()
    run("dgl")

    def look(stop):
        assert [row.status for row in read_runs(tmp_path)] == ["ok", "failed"]

    do.outcomes["dgl", "measured"] = look
    run("dgl", settings=retrying("failed"))
    assert [row.status for row in read_runs(tmp_path)] == ["ok", "ok"]


def test_a_row_that_a_process_of_a_killed_run_left_is_not_made_again(run, do, tmp_path):
    (row,) = run("e2e", provenances=("measured",))
    (file,) = tmp_path.glob("*.parquet")
    file.unlink()
    with open_run(tmp_path, "killed") as writer:
        write_file(writer.row_file(row), [row])
    do.asked.clear()
    assert run("e2e", provenances=("measured",)) == [row]
    assert do.asked == []
    assert read_runs(tmp_path) == [row]
    assert not (tmp_path / ".rows").exists()


# interrupts


def test_an_interrupt_between_cases_loses_nothing_finished(run, tmp_path):
    def observe(now):
        if now.done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run("e2e", "dgl", "greedy", observe=observe)
    assert len(read_runs(tmp_path)) == 3
    assert len(run("e2e", "dgl", "greedy")) == 6


def test_an_interrupt_stops_what_is_under_way_and_makes_no_row_of_it(run, do, tmp_path):
    def wait_for_stop(stop):
        begun.set()
        threading.Event().wait(0.01)
        while not stop.is_set():
            threading.Event().wait(0.01)
        return failed()

    def observe(now):
        if now.running and now.done == 1:
            begun.wait(10)
            raise KeyboardInterrupt

    begun = threading.Event()
    do.outcomes["e2e", "measured"] = wait_for_stop
    with pytest.raises(KeyboardInterrupt):
        run("e2e", observe=observe)
    assert [row.provenance for row in read_runs(tmp_path)] == ["simulated"]


def test_two_runs_into_one_folder_are_refused(run, tmp_path):
    with open_run(tmp_path, "other"), pytest.raises(StoreError, match=r"another run \(pid"):
        run("e2e")


# time left


def test_the_time_left_follows_from_rows_and_from_what_is_under_way(tmp_path, do):
    now, seen = [0.0], []

    def observe(progress):
        seen.append((progress.done, len(progress.running), progress.seconds_left))
        if progress.running:
            now[0] += 10.0  # what is under way has used that much of its time

    for method in ("e2e", "dgl"):
        do.outcomes[method, "measured"] = {"wall_seconds": 40.0}
    jobs = make_jobs("e2e", "dgl", provenances=("measured",))
    run_jobs(jobs, tmp_path, "tiny", SETTINGS, CPU, observe, do=do, clock=lambda: now[0])
    assert seen == [(0, 0, 18.0), (0, 1, 18.0), (1, 0, 40.0), (1, 1, 40.0), (2, 0, 0.0)]
    seen.clear()
    settings = replace(SETTINGS, retry=frozenset({"ok"}))
    run_jobs(jobs, tmp_path, "tiny", settings, CPU, observe, do=do, clock=lambda: now[0])
    assert seen[0] == (0, 0, 80.0)
