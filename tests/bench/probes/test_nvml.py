"""NVML with a library of recorded answers, and without any library for real."""

import os
from types import SimpleNamespace

import pytest

from bench.probes.nvml import Gpu, count_foreign, name_reasons, open_gpu

GIB = 2**30


class NVMLError(Exception):
    pass


class Mismatch(Exception):  # noqa: N818 - stands for NVMLLibraryMismatchError, which is no NVMLError
    pass


class FakeLibrary:
    """Answers as an H200 gave them; a call without an answer is one that the driver does not know."""

    NVMLError = NVMLError
    NVML_CLOCK_SM, NVML_CLOCK_MEM, NVML_TEMPERATURE_GPU = 1, 2, 0

    def __init__(self, answers=(), /, **more):
        self.answers = {**dict(answers), **more}
        self.handles = []

    def nvmlInit(self):  # noqa: N802 - NVML's name
        if "nvmlInit" in self.answers:
            raise NVMLError(self.answers["nvmlInit"])

    def __getattr__(self, name):
        if not name.startswith("nvml"):
            raise AttributeError(name)

        def call(handle=None, *arguments):
            key = (name, *arguments) if (name, *arguments) in self.answers else name
            if name.startswith("nvmlDeviceGetHandle"):
                self.handles.append((name, handle))
            if key not in self.answers:
                raise NVMLError("Not Supported")
            return self.answers[key]

        return call


def process(pid, used):
    return SimpleNamespace(pid=pid, usedGpuMemory=used)


H200 = {
    "nvmlDeviceGetHandleByIndex": "first",
    ("nvmlDeviceGetClockInfo", 1): 1755,
    ("nvmlDeviceGetClockInfo", 2): 3201,
    "nvmlDeviceGetTemperature": 61,
    "nvmlDeviceGetPowerUsage": 684_321,
    "nvmlDeviceGetCurrentClocksEventReasons": 0x4 | 0x20,
    "nvmlDeviceGetTotalEnergyConsumption": 9_876_543_210,
    "nvmlDeviceGetComputeRunningProcesses": [],
    "nvmlDeviceGetMemoryInfo": SimpleNamespace(used=GIB),
    ("nvmlDeviceGetDefaultApplicationsClock", 1): 1980,
    ("nvmlDeviceGetApplicationsClock", 1): 1200,
    "nvmlDeviceGetPersistenceMode": 1,
    "nvmlDeviceGetMigMode": [0, 0],
    "nvmlSystemGetDriverVersion": "580.65.06",
}


def library(**changes):
    fake = FakeLibrary()
    fake.answers = H200 | changes
    return fake


def gpu(**changes):
    opened = open_gpu(library=library(**changes))
    assert isinstance(opened, Gpu)
    return opened


def test_a_state_has_units_and_words():
    state = gpu().state()
    assert (state.sm_clock_hertz, state.memory_clock_hertz) == (1_755_000_000, 3_201_000_000)
    assert (state.temperature_celsius, state.power_watts) == (61, 684.321)
    assert state.throttle_reasons == ("software power cap", "software thermal slowdown")
    assert state.foreign_process_count == 0


def test_the_rest_of_what_is_asked():
    card = gpu()
    assert card.energy_joules() == 9_876_543.210
    assert (card.default_clock_hertz(), card.set_clock_hertz()) == (1_980_000_000, 1_200_000_000)
    assert (card.persistence_mode(), card.mig_mode(), card.driver_version()) == (True, False, "580.65.06")


def test_a_call_that_the_driver_does_not_know_is_not_measured():
    card = open_gpu(library=FakeLibrary(nvmlDeviceGetHandleByIndex="first"))
    state = card.state()
    assert {getattr(state, name) for name in type(state).__dataclass_fields__} == {None}
    asked = (card.energy_joules(), card.process_memory(), card.default_clock_hertz(), card.mig_mode())
    assert asked == (None,) * 4


@pytest.mark.parametrize("kind", [AttributeError, Mismatch], ids=["older library", "older driver"])
def test_a_call_that_is_unknown_to_the_library_is_not_measured(kind):
    class Other(FakeLibrary):
        NVMLLibraryMismatchError = Mismatch

        def __getattr__(self, name):
            if "Processes" in name or "Reasons" in name:
                raise kind(name)
            return super().__getattr__(name)

    state = open_gpu(library=Other(H200)).state()
    assert (state.foreign_process_count, state.throttle_reasons, state.temperature_celsius) == (None, None, 61)


def test_newer_drivers_call_the_temperature_otherwise():
    answers = {name: value for name, value in H200.items() if name != "nvmlDeviceGetTemperature"}
    fake = FakeLibrary(answers, nvmlDeviceGetTemperatureV=62)
    assert open_gpu(library=fake).state().temperature_celsius == 62


def test_a_part_of_a_gpu_is_divided_although_the_driver_tells_that_of_the_whole_alone():
    answers = {name: value for name, value in H200.items() if name != "nvmlDeviceGetMigMode"}
    assert open_gpu(library=FakeLibrary(answers, nvmlDeviceGetUUID="MIG-dd")).mig_mode() is True


def test_older_drivers_call_the_reasons_otherwise():
    answers = {name: value for name, value in H200.items() if name != "nvmlDeviceGetCurrentClocksEventReasons"}
    fake = FakeLibrary()
    fake.answers = answers | {"nvmlDeviceGetCurrentClocksThrottleReasons": 0}
    assert open_gpu(library=fake).state().throttle_reasons == ()


def test_a_card_without_a_default_clock_has_its_highest():
    answers = {name: value for name, value in H200.items() if "DefaultApplications" not in name[0]}
    fake = FakeLibrary()
    fake.answers = answers | {("nvmlDeviceGetMaxClockInfo", 1): 2520}
    assert open_gpu(library=fake).default_clock_hertz() == 2_520_000_000


# memory and processes, in the open and in a container


def test_memory_of_this_process_is_told_where_the_driver_lists_it():
    running = [process(os.getpid(), 3 * GIB), process(1, GIB)]
    card = gpu(nvmlDeviceGetComputeRunningProcesses=running)
    assert card.process_memory() == (3 * GIB, "process")
    assert card.state().foreign_process_count == 1


@pytest.mark.parametrize("listed", [[], [process(os.getpid(), None)]], ids=["hidden", "without memory"])
def test_in_a_container_memory_is_the_growth_of_the_device(listed):
    fake = library(nvmlDeviceGetComputeRunningProcesses=listed)
    card = open_gpu(library=fake)
    fake.answers["nvmlDeviceGetMemoryInfo"] = SimpleNamespace(used=4 * GIB)
    assert card.process_memory() == (3 * GIB, "device")


@pytest.mark.parametrize(
    ("now", "earlier", "foreign"),
    [
        ({7}, set(), 0),  # this process
        ({7, 8}, {8}, 1),
        (set(), set(), 0),
        ({100}, set(), 0),  # a container: this process under another number
        ({100, 101}, {100}, 1),
        ({100}, {100}, 1),
        ({101, 102}, set(), 1),
    ],
)
def test_foreign_processes_are_counted_whatever_number_this_one_has(now, earlier, foreign):
    assert count_foreign(frozenset(now), frozenset(earlier), own=7) == foreign


# which card, and none


@pytest.mark.parametrize(
    ("visible", "uuid", "asked"),
    [
        ("", None, ("nvmlDeviceGetHandleByIndex", 0)),
        ("3,1", None, ("nvmlDeviceGetHandleByIndex", 3)),
        ("GPU-aa,GPU-bb", None, ("nvmlDeviceGetHandleByUUID", "GPU-aa")),
        ("3", "cc", ("nvmlDeviceGetHandleByUUID", "GPU-cc")),
        ("MIG-dd", "cc", ("nvmlDeviceGetHandleByUUID", "MIG-dd")),
    ],
)
def test_the_card_is_the_one_that_cuda_calls_first(monkeypatch, visible, uuid, asked):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    fake = library(nvmlDeviceGetHandleByUUID="named")
    open_gpu(uuid, library=fake)
    assert fake.handles == [asked]


def test_an_unknown_name_falls_back_to_the_number(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2")
    fake = library()
    assert isinstance(open_gpu("cc", library=fake), Gpu)
    assert fake.handles[-1] == ("nvmlDeviceGetHandleByIndex", 2)


def test_a_driver_that_does_not_start_is_said_in_words():
    assert open_gpu(library=library(nvmlInit="Driver Not Loaded")) == "NVML: Driver Not Loaded"


def test_without_a_library_there_is_a_reason_or_a_gpu():
    found = open_gpu()
    assert isinstance(found, Gpu) or found.startswith("NVML: ")


def test_reasons_are_named_bit_by_bit():
    assert name_reasons(0) == ()
    assert name_reasons(0x1 | 0x80) == ("idle", "hardware power brake")
