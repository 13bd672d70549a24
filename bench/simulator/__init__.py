"""Peak memory of a training step without a GPU: the step runs on tensors without data, every storage is followed."""

SIMULATOR_VERSION = 1
"""Raised whenever simulated bytes may change; recorded beside every number."""
