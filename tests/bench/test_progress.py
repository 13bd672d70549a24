"""What a run shows: on a terminal, elsewhere, and at its end."""

import io
import re
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from bench.attempt import begin_row
from bench.commands.progress import in_words, show_progress, summarise
from bench.run import Place, Progress
from results.flags import FLAGS
from results.record import Readings
from tests.bench.engine import ENVIRONMENT, make_jobs

JOBS = make_jobs("infopro[softmax]", "contsup[R1E]", provenances=("measured",))


def make_row(job=JOBS[0], status="ok", **fields):
    readings = fields.pop("readings", Readings())
    return replace(begin_row(job, ENVIRONMENT), status=status, wall_seconds=12.34, readings=readings, **fields)


TIMED = Readings(
    peak_allocated_bytes=3 * 2**19, step_seconds=(1.0, 1.1, 1.2), reference_step_seconds=(1.0, 1.0, 1.0), flags=()
)


@pytest.fixture
def screen():
    def screen(*, terminal):
        return Console(file=io.StringIO(), width=80, height=20, force_terminal=terminal, color_system=None)

    return screen


def shown(console):
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", console.file.getvalue())


def watch(console, *events):
    with show_progress(console) as observe:
        for event in events:
            observe(event)
    return shown(console)


def test_the_table_on_a_terminal_holds_the_readings_and_fits_80_columns(screen):
    rows = [make_row(readings=TIMED), make_row(JOBS[1], readings=replace(TIMED, flags=("throttled",)))]
    running = {Place(name="cuda:1"): JOBS[0]}
    text = watch(
        screen(terminal=True),
        Progress(done=0, total=40, seconds_left=100.0),
        *(Progress(done=n, total=40, seconds_left=7500.0, running=running, row=row) for n, row in enumerate(rows, 1)),
    )
    lines = text.replace("\r", "\n").splitlines()
    assert max(map(len, lines)) <= 80
    last = "\n".join(lines[-5:])
    assert re.search(r"infopro\[softmax\] cifar_resnet8 K=2 +measured +1\.5 +1\.100 +12\.3 s", last)
    assert re.search(r"contsup\[R1E\] cifar_resnet8 K=2 +flagged", last)
    assert "cuda:1: infopro[softmax] cifar_resnet8 K=2" in last
    assert re.search(r"2/40, 2 h 5 min left: until about \d\d:\d\d", last)


def test_the_table_is_no_higher_than_the_screen(screen):
    console = screen(terminal=True)
    events = [Progress(done=n, total=40, seconds_left=1.0, row=make_row()) for n in range(1, 40)]
    assert watch(console, *events).split("case ")[-1].count("\n") < console.height - 1


def test_elsewhere_every_row_is_a_line(screen):
    failed = make_row(JOBS[1], "failed", phase="build", message="ValueError: [bold]this\nand more")
    text = watch(
        screen(terminal=False),
        Progress(done=1, total=4, seconds_left=100.0),
        Progress(done=2, total=4, seconds_left=80.0, row=make_row()),
        Progress(done=2, total=4, seconds_left=80.0, words="waiting for the CPU"),
        Progress(done=3, total=4, seconds_left=300.0, row=failed),
    )
    assert text.splitlines() == [
        "1 of 4 cases have a row already",
        "[2/4] infopro[softmax] cifar_resnet8 K=2 measured: ok (12.3 s), 80 s left",
        "waiting for the CPU",
        "[3/4] contsup[R1E] cifar_resnet8 K=2 measured: failed in phase 'build': ValueError: [bold]this, 5 min left",
    ]


def test_the_end_names_what_was_flagged_and_why_and_what_failed_in_which_phase(screen):
    console = screen(terminal=False)
    rows = [
        make_row(readings=replace(TIMED, flags=("throttled", "time limit"))),
        make_row(readings=replace(TIMED, flags=("throttled",))),
        make_row(JOBS[1], "failed", phase="build", message="ValueError: planted"),
        make_row(JOBS[0], "out_of_memory", phase="memory", message="CUDA out of memory\nTried to"),
    ]
    assert summarise(rows, Path("runs/x"), console) == 1
    assert shown(console).splitlines() == [
        "2 of 4 cases ok; records in runs/x",
        f"flagged 'throttled' (2): {FLAGS['throttled']}",
        "  infopro[softmax] cifar_resnet8 K=2 measured",
        "  infopro[softmax] cifar_resnet8 K=2 measured",
        f"flagged 'time limit' (1): {FLAGS['time limit']}",
        "  infopro[softmax] cifar_resnet8 K=2 measured",
        "failed in phase 'build' (1):",
        "  contsup[R1E] cifar_resnet8 K=2 measured: ValueError: planted",
        "out of memory in phase 'memory' (1):",
        "  infopro[softmax] cifar_resnet8 K=2 measured: CUDA out of memory",
        "the same command with --retry failed tries these again",
    ]


def test_a_flag_of_all_measured_rows_is_said_once(screen):
    console = screen(terminal=False)
    summarise([make_row(readings=replace(TIMED, flags=("busy CPU",)))] * 4, Path("x"), console)
    assert shown(console).splitlines()[1:] == [f"flagged 'busy CPU' (all 4 measured): {FLAGS['busy CPU']}"]


def test_out_of_memory_is_a_result(screen):
    assert summarise([make_row(status="out_of_memory")], Path("x"), screen(terminal=False)) == 0


@pytest.mark.parametrize(("seconds", "words"), [(0.4, "0 s"), (99.4, "99 s"), (99.5, "2 min"), (7500, "2 h 5 min")])
def test_durations_are_in_words_to_plan_with(seconds, words):
    assert in_words(seconds) == words


WAIT = """
import sys, time
from pathlib import Path
from rich.console import Console
from bench.commands.run import _ending_in_order
with _ending_in_order(Console(stderr=True), Path("runs/x")):
    print("waiting", flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_whoever_ends_a_run_is_told_how_to_go_on(number):
    with subprocess.Popen(
        [sys.executable, "-c", WAIT],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
        # Tests that run in the background inherit an ignored SIGINT.
        preexec_fn=lambda: [signal.signal(each, signal.SIG_DFL) for each in (signal.SIGINT, signal.SIGHUP)],  # noqa: PLW1509
    ) as run:
        run.stdout.readline()
        run.send_signal(number)
        _, words = run.communicate()
    assert run.returncode == 128 + number
    assert words == "interrupted; what is finished is in runs/x: run the same command to resume\n"
