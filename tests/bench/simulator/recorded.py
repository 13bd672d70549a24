"""The model of the device that recordings were made on."""

from dataclasses import replace
from functools import cache

from bench.simulator.allocator import Settings
from bench.simulator.model import Model, read_model


@cache
def recorded_on(workspace: str = "none") -> Model:
    """An H200 with torch 2.15, whatever torch runs the test."""
    model = read_model("H200", workspace=workspace)
    return replace(model, device=replace(model.device, torch_version=(2, 15)), settings=Settings())
