"""Functions with faults, to be run in a process of their own by the tests of isolation. Imports no torch."""

import atexit
import ctypes
import inspect
import json
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

from results.record import Readings


def measure(case, device, limits, faults, report):
    """Readings of a case, or what is planted for it: `faults` says `K: name of a function below` of some K."""
    report("measure")
    name = json.loads(faults or "{}").get(str(case.module_count))
    return globals()[name](report) if name else Readings(parameter_count=case.module_count)


def measure_and_note(case, device, limits, folder, report):
    """Note in a folder that a case was begun, take a moment, and note on which device it was from when to when."""
    report("measure")
    begin = time.monotonic()
    with Path(folder, "begun").open("a") as file:
        file.write(f"{case.module_count}\n")
    time.sleep(0.1)
    with Path(folder, "busy").open("a") as file:
        file.write(f"{os.environ['N']} {begin} {time.monotonic()}\n")
    return Readings(parameter_count=case.module_count)


def return_no_readings(report):
    return "no readings"


def return_foreign_letters(report):
    return Readings(peak_phase="lone \ud800")


def return_a_number_too_large(report):
    return Readings(parameter_count=2**100)


def write_half_a_row(report):
    """Write where the row belongs, and die of it."""
    for frame in inspect.stack():
        if "template" in frame.frame.f_locals:
            frame.frame.f_locals["file"].write_bytes(b"PAR1 and not much more")
    os._exit(0)


def die_behind_the_row(report):
    """Crash when Python ends, as a driver might."""
    atexit.register(os.kill, os.getpid(), signal.SIGSEGV)
    return Readings(parameter_count=1)


def fill_the_disk(report):
    resource.setrlimit(resource.RLIMIT_FSIZE, (1024, 1024))
    return Readings(parameter_count=1)


def segfault(report):
    os.kill(os.getpid(), signal.SIGSEGV)


def be_killed(report):
    os.kill(os.getpid(), signal.SIGKILL)


def hang(report):
    time.sleep(60)


def fail_on_the_device(report):
    raise RuntimeError("CUDA error: an illegal memory access was encountered\nCUDA kernel errors might be")


class UnspeakableError(Exception):
    def __str__(self):
        raise RuntimeError("no words")


def add(a, b, report):
    report("adding")
    return a + b


def fail(report):
    report("before the fault")
    raise ValueError("planted")


def fail_unspeakably(report):
    raise UnspeakableError


def fail_in_foreign_letters(report):
    report("lone \ud800")
    raise ValueError("lone \udcff")


def fail_in_colour(report):
    raise ValueError("\x1b[31mred\x1b]0;title\x07\0 \u202e\r\nsecond line")


def fail_at_length(report):
    raise ValueError("x" * 10**6)


def leave_as_a_program(report):
    sys.exit(3)


def kill_itself(number, report):
    report("about to die")
    print("last words", flush=True)
    os.kill(os.getpid(), number)


def crash(report):
    report("about to crash")
    ctypes.string_at(0)


def stop_itself(report):
    report("about to stop")
    os.kill(os.getpid(), signal.SIGSTOP)


def hold_python_lock(report):
    """Sleep in C without letting any other thread run."""
    report("holding on")
    ctypes.PyDLL(None).sleep(60)


def leave(report):
    report("leaving")
    os._exit(7)


def sleep(seconds, report):
    report("sleeping")
    time.sleep(seconds)


def sleep_with_child(folder, report):
    """Start a child that would outlive its parent, and note its process id."""
    child = subprocess.Popen(["sleep", "60"])
    Path(folder, "child").write_text(str(child.pid))
    Path(folder, "self").write_text(str(os.getpid()))
    report("sleeping with a child")
    time.sleep(60)


def leave_a_child(report):
    """Finish, with a child in the background."""
    return subprocess.Popen(["sleep", "100"]).pid  # longer than a test waits


def leave_a_fork(report):
    """Finish, with a copy of this process in a session of its own that goes on with every descriptor it has."""
    child = os.fork()
    if child == 0:
        os.setsid()
        time.sleep(60)
        os._exit(0)
    return child


def return_what_cannot_be_pickled(report):
    report("returning")
    return threading.Lock()


def return_what_cannot_be_unpickled(report):
    report("returning")
    return Unreadable()


class Unreadable:
    def __reduce__(self):
        return (int, ("no number",))


def return_much(report):
    return b"x" * 10**7


def return_more_than_the_disk_takes(report):
    resource.setrlimit(resource.RLIMIT_FSIZE, (1024, 1024))
    return b"x" * 2**20


def leak(report):
    """Keep ever more."""
    report("leaking")
    kept = []
    while True:
        kept.append(bytearray(2**22))


def finish_late(file, report):
    """Finish a second from now, whoever is still there."""
    Path(f"{file}.begun").write_text(str(os.getpid()))
    report("finishing")
    time.sleep(1)
    Path(file).write_text("finished")


def tell(report):
    return {
        "pid": os.getpid(),
        "variables": dict(os.environ),
        "group": os.getpgid(0),
        "torch": "torch" in sys.modules,
        "victim": Path("/proc/self/oom_score_adj").read_text().strip(),
        "files": [str(file.resolve()) for file in Path("/proc/self/fd").iterdir()],
    }
