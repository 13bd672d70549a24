"""Functions with faults, to be run in a process of their own by the tests of isolation."""

import os
import signal
import subprocess
import time
from pathlib import Path

import torch


def add(a, b, report):
    report("adding")
    return a + b


def fail(report):
    report("before the fault")
    raise ValueError("planted")


def kill_itself(report):
    report("about to die")
    os.kill(os.getpid(), signal.SIGKILL)


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


def allocate_too_much(report):
    report("one huge tensor")
    torch.empty(2**50)


def fill_memory(report):
    report("filling")
    kept = []
    while True:
        kept.append(torch.ones(2**24))


def process_facts(report):
    return {"pid": os.getpid(), "cuda_started": torch.cuda.is_initialized(), "threads": torch.get_num_threads()}
