"""Peak memory of a training step without a GPU: the step runs on tensors without data, every storage is followed."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bench.simulator.simulate import simulate_step

__all__ = ["SIMULATOR_VERSION", "simulate_step"]

SIMULATOR_VERSION = 3
"""Raised whenever simulated bytes may change; recorded beside every number."""


def __getattr__(name: str) -> Any:
    """`simulate_step`, imported when asked for: the version alone needs no torch."""
    if name == "simulate_step":
        from bench.simulator.simulate import simulate_step  # noqa: PLC0415

        return simulate_step
    raise AttributeError(f"module {__name__} has no attribute {name}")
