"""Outputs of finished modules on disk, for methods that train one module after the other.

One Arrow file per round: a row per image with the module's output, its label, and the normalised image where the next
module's loss needs it. Rows are read straight from the mapped file, in any order; nothing is loaded ahead.
"""

import math
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import pyarrow as pa

KIND = "peakbench.features"
Shape = tuple[int, ...]


class FeatureStoreError(OSError):
    """Features that cannot be stored, or a file that holds none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """What is stored of every image."""

    features: Shape
    """(channels, height, width) of a module's output; float32."""
    images: Shape | None = None
    """(3, height, width) of the normalised image, float32; None: not stored."""
    labels: Shape = ()
    """() for one label per image, (height, width) for one per pixel; int64."""

    @property
    def bytes_per_image(self) -> int:
        """Size on disk of one image's row, without the file's few KiB of bookkeeping."""
        values = math.prod(self.features) + (math.prod(self.images) if self.images else 0)
        return 4 * values + 8 * math.prod(self.labels)

    def columns(self) -> dict[str, Shape]:
        """Shape of every column's values, by name."""
        images = {} if self.images is None else {"images": self.images}
        return {"features": self.features, "labels": self.labels, **images}

    def schema(self) -> pa.Schema:
        """Columns of flat lists; their shapes are in the metadata."""
        fields = [
            pa.field(
                name,
                pa.list_(pa.int64() if name == "labels" else pa.float32(), math.prod(shape)),
                nullable=False,
                metadata={"shape": ",".join(map(str, shape))},
            )
            for name, shape in self.columns().items()
        ]
        return pa.schema(fields, metadata={"kind": KIND})


class FeatureWriter:
    """Writes a file of features; as a context, so that a file that was broken off leaves nothing behind."""

    def __init__(self, path: Path, layout: Layout, image_count: int) -> None:
        """Check that the disk can hold what is coming; nothing is written before.

        Args:
            path: the file, in a folder that exists.
            layout: what is stored of every image.
            image_count: how many will be stored, all passes together.

        Raises:
            FeatureStoreError: the folder is missing, or its disk too small.
        """
        self.path = path
        self.layout = layout
        self._part = path.with_name(path.name + ".part")
        needed = image_count * layout.bytes_per_image
        try:
            free = shutil.disk_usage(path.parent).free
        except OSError as error:
            raise FeatureStoreError(f"cannot store features in {path.parent}: {error.strerror}") from error
        if needed > free:
            raise FeatureStoreError(
                f"stored features need {needed:,} bytes ({image_count:,} images of {layout.bytes_per_image:,}), but "
                f"{path.parent} has {free:,} free: store fewer passes, use another folder, or cache=recompute"
            )

    def __enter__(self) -> Self:
        self._writer = pa.ipc.new_file(str(self._part), self.layout.schema())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._writer.close()
            if kind is None:
                self._part.replace(self.path)
        finally:
            self._part.unlink(missing_ok=True)

    def add(self, features: np.ndarray, labels: np.ndarray, images: np.ndarray | None = None) -> None:
        """Store a batch.

        Args:
            features: float32, (batch, *layout.features).
            labels: int64, (batch, *layout.labels).
            images: float32, (batch, *layout.images), where the layout has them.

        Raises:
            ValueError: an array has another shape than the layout says.
        """
        given = {"features": features, "labels": labels, "images": images}
        arrays: list[pa.Array] = []
        for name, shape in self.layout.columns().items():
            values = given[name]
            if values is None or values.shape != (len(labels), *shape):
                found = None if values is None else values.shape
                raise ValueError(f"stored {name} have shape (batch, {shape}) in this file, not {found}")
            arrays.append(pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), math.prod(shape)))
        self._writer.write_batch(pa.record_batch(arrays, schema=self.layout.schema()))


class FeatureReader:
    """Reads rows of a file of features."""

    def __init__(self, path: Path) -> None:
        """Map the file.

        Raises:
            FeatureStoreError: there is no such file, or it holds no features.
        """
        try:
            file = pa.ipc.open_file(pa.memory_map(str(path)))
        except (OSError, pa.ArrowInvalid) as error:
            raise FeatureStoreError(f"cannot read stored features from {path}: {error}") from error
        if (file.schema.metadata or {}).get(b"kind") != KIND.encode():
            raise FeatureStoreError(f"{path} holds no stored features")
        batches = [file.get_batch(number) for number in range(file.num_record_batches)]
        self._columns = {
            field.name: [_as_array(batch.column(field.name), field) for batch in batches] for field in file.schema
        }
        self._starts = np.cumsum([0, *(len(batch) for batch in batches)])

    def __len__(self) -> int:
        return int(self._starts[-1])

    def read(self, rows: Sequence[int] | np.ndarray) -> dict[str, np.ndarray]:
        """Values of these rows by column (`features`, `labels` and, where stored, `images`), copied, in their order."""
        rows = np.asarray(rows)
        batches = np.searchsorted(self._starts, rows, side="right") - 1
        places = list(zip(batches, rows - self._starts[batches], strict=True))
        return {
            name: np.stack([arrays[batch][place] for batch, place in places]) for name, arrays in self._columns.items()
        }


def _as_array(column: pa.Array, field: pa.Field) -> np.ndarray:
    """The column as (rows, *shape), without a copy."""
    text = (field.metadata or {}).get(b"shape", b"").decode()
    shape = tuple(int(side) for side in text.split(",") if side)
    return column.flatten().to_numpy(zero_copy_only=True).reshape(len(column), *shape)
