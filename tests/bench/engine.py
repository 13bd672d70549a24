"""A machine, jobs and their doing that need no process: what the tests of the engine run on."""

import threading
from dataclasses import replace

from bench.cases import make_case
from bench.devices import Device, Machine
from bench.jobs import Job, Settings
from bench.probes.limits import Limits
from results.record import Environment, Measurement, Readings

ENVIRONMENT = Environment(
    peakbench_version="0", simulator_version=1, torch_version="0", torchvision_version=None, cuda_version=None,
    cudnn_version=None, driver_version=None, python_version="3", operating_system="x", device_name="x",
    device_memory_bytes=1, cpu_name="x", cpu_count=1, thread_count=1, git_commit=None, git_dirty=None,
)  # fmt: skip
SETTINGS = Settings(limits=Limits(minimum_pairs=2, maximum_pairs=2, maximum_seconds=0), time_limit=120)
CPU = Machine(simulated=ENVIRONMENT, devices=(Device(kind="cpu", place="cpu", key="cpu", environment=ENVIRONMENT),))


def gpus(count):
    """A machine with so many GPUs."""
    environment = replace(ENVIRONMENT, device_name="a GPU")
    devices = [
        Device(kind="cuda", place=f"cuda:{n}", key=f"GPU-{n}", variables={"N": f"{n}"}, environment=environment)
        for n in range(count)
    ]
    return Machine(simulated=ENVIRONMENT, devices=tuple(devices))


def make_jobs(*methods, batch=4, device="cpu", provenances=("simulated", "measured"), network="cifar_resnet8@8"):
    cases = [
        make_case(method=method, network=network, module_count=1 if method == "e2e" else 2, batch_size=batch)
        for method in methods
    ]
    return [
        Job(case=case, provenance=provenance, device="cuda" if provenance == "simulated" else device)
        for provenance in provenances
        for case in cases
    ]


class Script:
    """Does jobs as written down, and notes what it was asked."""

    def __init__(self):
        self.outcomes = {}
        """(method, provenance) -> fields of the row, or an error to raise, or a function of the job to call before."""
        self.asked = []
        """(method, provenance) in the order begun."""
        self.places = []
        """Of every job that was measured, the device."""
        self.busy = {}
        self.most_at_once = {}
        self._turn = threading.Lock()

    def __call__(self, job, environment, device, file, settings, held, stop):
        name, place = (job.case.method, job.provenance), device.place if device else "simulation"
        with self._turn:
            self.asked.append(name)
            self.places.append(place)
            self.busy[place] = self.busy.get(place, 0) + 1
            self.most_at_once[place] = max(self.most_at_once.get(place, 0), self.busy[place])
        fields = self.outcomes.get(name, {})
        if callable(fields):
            fields = fields(stop) or {}
        with self._turn:
            self.busy[place] -= 1
        if isinstance(fields, BaseException):
            raise fields
        row = Measurement(
            case=job.case,
            provenance=job.provenance,
            device=job.device,
            measure=job.measure,
            status="ok",
            started_at="2026-01-01T00:00:00+00:00",
            wall_seconds=1.0,
            readings=Readings(),
            environment=environment,
        )
        return replace(row, **fields)


class Seen(list):
    """Notes what an observer is told of rows."""

    def __call__(self, now):
        if now.row is not None:
            self.append((now.row.case.method, now.row.provenance, now.row.status, now.done))
