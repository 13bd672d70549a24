"""Storage that cub's sorts, scans and selections take on a device."""

from bench.simulator.operators.plans import Device, divide_up

_ALIGNMENT = 256
_DIGITS = 256
"""Bins of one pass of the radix sort, 8 bits of the key."""
_SCAN_WARP = 32


def sort_bytes(count: int, width: int, most: int, device: Device) -> int:
    """Storage of cub::DeviceRadixSort::SortPairs for `count` keys and values of `width` bytes below `most`."""
    if count <= (2304 if width == 8 else 4864):  # noqa: PLR2004
        return 1
    passes = divide_up(max(most.bit_length(), 1), 8)
    tile = _by_capability(device, *((2816, 3840, 4608) if width == 8 else (11776, 6528, 6528)))  # noqa: PLR2004
    size = _ALIGNMENT - 1 + _aligned(passes * _DIGITS * 8) + _aligned(passes * 4)
    size += divide_up(count, tile) * _DIGITS * 4
    return size + (2 * _aligned(count * width) if passes > 1 else 0)


def unique_bytes(count: int, width: int, device: Device) -> int:
    """Storage of cub::DeviceSelect::UniqueByKey."""
    ampere = device.capability == (8, 0)
    if width == 8:  # noqa: PLR2004
        tile = 1344 if ampere else _by_capability(device, 320, 320, 4928)
    else:
        tile = 2816 if ampere else _by_capability(device, 704, 704, 7168)
    return _scan_state_bytes(count, tile, 16)


def scan_bytes(count: int, width: int) -> int:
    """Storage of cub::DeviceScan over integers of `width` bytes."""
    return _scan_state_bytes(count, 896 if width == 8 else 1920, 2 * width)  # noqa: PLR2004


def _scan_state_bytes(count: int, tile: int, state: int) -> int:
    """A state of `state` bytes per tile, and a warp more."""
    return 2 * _ALIGNMENT - 1 + _aligned((_SCAN_WARP + divide_up(count, tile)) * state)


def _aligned(size: int) -> int:
    return divide_up(size, _ALIGNMENT) * _ALIGNMENT


def _by_capability(device: Device, turing: int, ampere: int, hopper: int) -> int:
    """The value for the oldest of these architectures that the device is not older than."""
    if device.capability >= (9, 0):
        return hopper
    return ampere if device.capability >= (8, 0) else turing
