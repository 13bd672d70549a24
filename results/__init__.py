"""The record of a measurement, its Parquet schema and the store. The only package that imports pyarrow."""

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["load"]


def load(paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]]) -> "pd.DataFrame":
    """Read runs into a data frame, one row per measurement, columns as in `results/schema.py`.

    Args:
        paths: one file or folder of measurements, or several.

    Returns:
        Whole numbers stay whole: what was not measured is `<NA>` among them, NaN among real numbers.

    Raises:
        results.store.StoreError: nothing there, or not readable as measurements.
    """
    from results.store import load_frame  # noqa: PLC0415 - `import results` costs neither pyarrow nor pandas

    return load_frame(paths)
