"""Numbers as text. Only here are bytes GiB and seconds ms; GiB and MiB are binary, 2^30 and 2^20 bytes.

Every function takes None for a number that was not measured or not published, and shows it as `-`.
"""

from collections.abc import Callable
from math import floor, log10

NOTHING = "-"


def format_gib(size_bytes: float | None) -> str:
    """GiB without the unit: `8.07`."""
    return NOTHING if size_bytes is None else f"{size_bytes / 2**30:.2f}"


def format_mib(size_bytes: float | None) -> str:
    """MiB without the unit: `98.5`."""
    return NOTHING if size_bytes is None else f"{size_bytes / 2**20:.1f}"


def format_gigabytes(gigabytes: float | None) -> str:
    """GB as a paper prints it: `3.91`."""
    return NOTHING if gigabytes is None else f"{gigabytes:.2f}"


def memory_unit(largest_bytes: int) -> tuple[str, Callable[[float | None], str]]:
    """Name and formatter of the unit for values up to this one: GiB from one GiB on."""
    return ("GiB", format_gib) if largest_bytes >= 2**30 else ("MiB", format_mib)


def format_milliseconds(seconds: float | None) -> str:
    """Milliseconds in four digits: `0.2500`, `57.32`, `1301`."""
    if seconds is None:
        return NOTHING
    milliseconds = 1000 * seconds
    decimals = 3 - floor(log10(milliseconds)) if milliseconds > 0 else 3
    return f"{milliseconds:.{min(max(decimals, 0), 4)}f}"


def format_millions(count: int | None) -> str:
    """Parameters in millions: `1.731`."""
    return NOTHING if count is None else f"{count / 1e6:.3f}"


def format_percent(fraction: float | None) -> str:
    """A share: `65.3%`."""
    return NOTHING if fraction is None else f"{100 * fraction:z.1f}%"


def format_change(fraction: float | None) -> str:
    """A difference, with its sign: `+5.9%`."""
    return NOTHING if fraction is None else f"{100 * fraction:+z.1f}%"


def format_ratio(ratio: float | None, low: float | None = None, high: float | None = None) -> str:
    """A ratio, with half the width of its interval where there is one: `1.134±0.004`."""
    if ratio is None:
        return NOTHING
    return f"{ratio:.3f}" + ("" if low is None or high is None else f"±{(high - low) / 2:.3f}")


def format_overhead(ratio: float | None, low: float | None = None, high: float | None = None) -> str:
    """A ratio as what it adds, in per cent: `+13.4±0.4%`."""
    if ratio is None:
        return NOTHING
    interval = "" if low is None or high is None else f"±{100 * (high - low) / 2:.1f}"
    return f"{100 * (ratio - 1):+z.1f}{interval}%"
