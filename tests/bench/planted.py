"""Functions with faults, to be run in a process of their own by the tests of isolation. Imports no torch."""

import ctypes
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path


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
