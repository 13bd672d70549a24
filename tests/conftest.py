"""Settings of all tests."""

import pytest
import torch

# Tiny networks gain nothing from threads, and lose much where tests share a machine.
torch.set_num_threads(1)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Tests that need a GPU say so instead of failing where there is none."""
    if torch.cuda.is_available():
        return
    without = pytest.mark.skip(reason="needs a CUDA device")
    for item in items:
        if item.get_closest_marker("gpu"):
            item.add_marker(without)
