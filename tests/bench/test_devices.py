import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from bench import devices
from bench.devices import DeviceError, hold, look_at_machine, see_alone
from tests.bench.engine import ENVIRONMENT

ROOT = Path(__file__).parents[2]
HOLD = """
import sys, time
from bench.devices import hold
with hold(sys.argv[1], shared=sys.argv[2] == "shared", wanted=lambda: True, tell=print):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def folder(monkeypatch, tmp_path):
    monkeypatch.setenv(devices.LOCK_FOLDER, str(tmp_path))
    return tmp_path


def holding(key, how="alone"):
    return subprocess.Popen(
        [sys.executable, "-c", HOLD, key, how], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def try_to_hold(key, **options):
    """Whether the lock is to be had now, and what was said of a wait."""
    said = []
    with hold(key, wanted=lambda: False, tell=said.append, **options) as held:
        return held is not None, said


def test_a_device_is_held_by_one_process_until_it_ends_however_it_ends():
    with holding("GPU-1") as other:
        assert other.stdout.readline() == "held\n"
        assert not try_to_hold("GPU-1")[0]
        assert try_to_hold("GPU-2")[0]
        other.kill()
        other.wait()
        assert try_to_hold("GPU-1")[0]


def test_those_who_share_are_side_by_side_but_beside_nobody_else():
    with holding("cpu", "shared") as other:
        assert other.stdout.readline() == "held\n"
        assert try_to_hold("cpu", shared=True)[0]
        assert not try_to_hold("cpu")[0]
        other.stdin.close()


def test_who_waits_is_told_for_whom_and_gets_it_in_the_end():
    with holding("GPU-1") as other:
        assert other.stdout.readline() == "held\n"
        said = []

        def tell(words):
            said.append(words)
            other.stdin.close()

        with hold("GPU-1", wanted=lambda: True, tell=tell) as held:
            assert held is not None
        assert said == [f"waiting for GPU GPU-1: another run (pid {other.pid}) is measuring on it"]


def test_who_let_go_is_not_named_as_the_one_who_is_waited_for():
    with hold("cpu", wanted=lambda: True, tell=print):
        pass
    with holding("cpu", "shared") as other:
        assert other.stdout.readline() == "held\n"
        assert try_to_hold("cpu") == (False, [])
        said = []

        def tell(words):
            said.append(words)
            other.stdin.close()

        with hold("cpu", wanted=lambda: True, tell=tell):
            assert said == ["waiting for the CPU: another run is measuring on it"]


def test_who_holds_a_device_again_and_again_lets_others_have_their_turn():
    turns, others = [], 0

    def take_a_turn():
        with hold("GPU-1", wanted=lambda: True, tell=lambda _: waiting.set()) as held:
            turns.append(held)

    waiting = threading.Event()
    other = threading.Thread(target=take_a_turn)
    with hold("GPU-1", wanted=lambda: True, tell=print):
        other.start()
        assert waiting.wait(10)
    while not turns:
        with hold("GPU-1", wanted=lambda: True, tell=lambda _: None):
            others += 1
    other.join()
    assert others <= 1


def test_an_inherited_lock_outlives_the_one_who_took_it():
    code = "import time; print('up', flush=True); time.sleep(60)"
    with hold("cpu", wanted=lambda: True, tell=print) as held:
        child = subprocess.Popen([sys.executable, "-c", code], pass_fds=(held,), stdout=subprocess.PIPE)
        child.stdout.readline()
    assert not try_to_hold("cpu")[0]
    child.kill()
    child.communicate()
    assert try_to_hold("cpu")[0]


def test_a_folder_that_is_not_there_says_the_way_out(monkeypatch):
    monkeypatch.setenv(devices.LOCK_FOLDER, "/no/such/folder")
    with pytest.raises(DeviceError, match=r"cannot open the lock /no/such/folder/.*; name another folder in PEAKBENCH"):
        try_to_hold("cpu")


def test_a_lock_is_open_to_all_users_and_no_link_is_followed(folder):
    try_to_hold("GPU-1")
    assert (folder / "peakbench-GPU-1.lock").stat().st_mode & 0o777 == 0o666
    (folder / "peakbench-GPU-2.lock").symlink_to(folder / "victim")
    with pytest.raises(DeviceError, match="Too many levels of symbolic links"):
        try_to_hold("GPU-2")


@pytest.mark.parametrize(
    ("number", "visible", "seen"),
    [(1, None, "1"), (1, "", "1"), (1, "2,3", "3"), (0, "GPU-a, GPU-b", "GPU-a"), (1, "MIG-x,MIG-y", "MIG-y")],
)
def test_a_gpu_is_named_as_its_user_named_it(number, visible, seen):
    assert see_alone(number, visible) == {"CUDA_VISIBLE_DEVICES": seen}


@pytest.fixture
def answers(monkeypatch):
    """A machine with GPUs of these models, as its processes tell of it."""

    def set_up(*models):
        def ask(question, *arguments, variables=None):
            if question.endswith(":list_gpus"):
                return [{"name": model, "key": f"GPU-{n}"} for n, model in enumerate(models)]
            seen = (variables or {}).get("CUDA_VISIBLE_DEVICES")
            name = models[int(seen)] if seen else f"{arguments[0]}"
            return replace(ENVIRONMENT, device_name=name)

        monkeypatch.setattr(devices, "ask", ask)

    return set_up


def test_gpus_are_taken_where_there_are_any_each_seen_alone(answers):
    answers("H200", "H200")
    machine = look_at_machine("auto")
    assert [(d.place, d.key, d.variables) for d in machine.devices] == [
        ("cuda:0", "GPU-0", {"CUDA_VISIBLE_DEVICES": "0"}),
        ("cuda:1", "GPU-1", {"CUDA_VISIBLE_DEVICES": "1"}),
    ]
    assert machine.simulated.device_name == "None"


def test_another_model_is_left_out_and_named(answers):
    answers("H200", "T4", "H200")
    machine = look_at_machine("cuda")
    assert [device.place for device in machine.devices] == ["cuda:0", "cuda:2"]
    assert machine.left_out[0].startswith("cuda:1 is another model than cuda:0 (T4, H200) and is left out")


def test_without_a_gpu_the_cpu_measures_unless_a_gpu_was_asked_for(answers):
    answers()
    (device,) = look_at_machine("auto").devices
    assert (device.kind, device.variables, device.environment.device_name) == ("cpu", None, "cpu")
    with pytest.raises(DeviceError, match="no usable GPU"):
        look_at_machine("cuda")


def test_gpus_are_not_asked_for_where_the_cpu_is_wanted(answers):
    answers("H200")
    assert look_at_machine("cpu").devices[0].kind == "cpu"
