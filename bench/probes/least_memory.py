"""Finds the least limit of the allocator with which a training runs, by trying limits. Imports no torch.

What a limit is tried with is the caller's: a process on a device, or a replay of a simulated training. A larger limit
may fail where a smaller one runs, because the allocator returns its cache at other moments; bisection then finds one
limit that runs and whose neighbour below does not, twice, which need not be the least of all.
"""

from collections.abc import Callable

STEP_BYTES = 2 * 2**20
"""Segments are whole multiples of it, so that nothing lies between."""
TRIES_BELOW = 2
"""How often the limit below the answer has to fail: fragmentation may differ from one process to the next."""


def find_least_limit(
    runs: Callable[[int], bool],
    *,
    floor_bytes: int,
    ceiling_bytes: int,
    most_bytes: int,
    guess_bytes: int | None = None,
) -> int | None:
    """A limit, in whole steps of 2 MiB, that runs while the step below fails twice.

    Complexity: the logarithm of the bracket's width in steps, and three tries; with a right guess, three tries.

    Args:
        runs: tries a limit in bytes.
        floor_bytes: what is needed at least, as believed: the allocated peak; where less runs, the bracket is widened.
        ceiling_bytes: what is surely enough, as believed: the reserved peak; where it fails, the bracket is widened.
        most_bytes: the largest limit there is.
        guess_bytes: tried first.

    Returns:
        None where not even the largest limit runs.
    """
    low = _round_up(floor_bytes) - STEP_BYTES
    most = most_bytes // STEP_BYTES * STEP_BYTES
    failures: dict[int, int] = {}

    def attempt(limit: int) -> bool:
        if runs(limit):
            return True
        failures[limit] = failures.get(limit, 0) + 1
        return False

    guess = None if guess_bytes is None else min(_round_up(guess_bytes), most)
    guessed = guess is not None and attempt(guess)
    if guess is not None and guessed:
        high = guess
        low = min(low, guess - STEP_BYTES)
    else:
        low = low if guess is None else max(low, guess)
        high = min(max(_round_up(ceiling_bytes), low + STEP_BYTES), most)
        width = high - low
        while not attempt(high):
            if high >= most:
                return None
            low, high, width = high, min(high + width, most), 2 * width
    width = max(high - low, STEP_BYTES)
    while True:
        while high - low > STEP_BYTES:
            middle = high - STEP_BYTES if guessed else (low + high) // 2 // STEP_BYTES * STEP_BYTES
            guessed = False
            low, high = (low, middle) if attempt(middle) else (middle, high)
        below = high - STEP_BYTES
        while below > 0 and failures.get(below, 0) < TRIES_BELOW:
            if attempt(below):
                break
        else:
            return high
        high, low, width = below, max(below - width, 0), 2 * width


def _round_up(size: int) -> int:
    return -(-size // STEP_BYTES) * STEP_BYTES
