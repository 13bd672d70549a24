"""Tests whose networks are torchvision's are left out where it is not installed."""

from importlib.util import find_spec

collect_ignore = [] if find_spec("torchvision") else ["test_fake.py", "test_simulate_step.py", "test_streams.py"]
