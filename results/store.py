"""Measurements on disk: one Parquet file per run, rewritten whole after each case, read only if it is ours and intact.

A file is written beside its target and renamed over it, so readers and crashes see the old file or the new one, never
half of one. Runs never share a file, and a lock keeps two of them out of one folder.
"""

import errno
import fcntl
import hashlib
import os
import re
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from results.migrate import added_columns, upgrade_rows
from results.record import Measurement
from results.schema import KIND, SCHEMA, SCHEMA_VERSION

if TYPE_CHECKING:
    import pandas as pd

StrPath = str | os.PathLike[str]

_MAGIC = b"PAR1"
_PARTIAL = re.compile(r"\..+\.parquet\.\d+\.partial")
_LOCK = ".lock"
_ROWS = ".rows"
"""Folder of the rows that processes leave, one file each."""
_MOST_CHARACTERS = 50
"""Of a suite's name in that of a file; file systems take 255 bytes."""
_WAIT_SECONDS = 0.1
_WAYS_OUT = {
    errno.ENOSPC: "free some space or choose",
    errno.EDQUOT: "free some space or choose",
    errno.EACCES: "allow writing there or choose",
    errno.EPERM: "allow writing there or choose",
}


class StoreError(OSError):
    """Measurements that cannot be read or written; the message names the path, the reason and the way out."""


def write_file(path: StrPath, measurements: Iterable[Measurement]) -> None:
    """Replace a file by these measurements, atomically: afterwards it is the new file or, on error, the old one.

    Raises:
        StoreError: the disk is full, the folder is missing or not writable; nothing is left behind.
    """
    path = Path(path)
    table = pa.Table.from_pylist([measurement.to_row() for measurement in measurements], schema=SCHEMA)
    sink = pa.BufferOutputStream()
    # Checksums turn a damaged page into an error instead of into other numbers.
    pq.write_table(table, sink, compression="zstd", write_page_checksum=True)
    with _writing(path):
        _replace_bytes(path, sink.getvalue())


def read_file(path: StrPath) -> list[Measurement]:
    """Read the measurements of one file.

    Raises:
        StoreError: the file is missing, not Parquet, cut short, damaged, not peakbench's, written by a newer peakbench,
            or its columns are not those of the record.
    """
    path = Path(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise StoreError(f"cannot read {path}: {error.strerror}") from error
    _check_whole(path, content)
    with _reading(path):
        file = pq.ParquetFile(pa.BufferReader(content), page_checksum_verification=True)
        schema = file.schema_arrow
    version = _check_schema(path, schema)
    with _reading(path):
        rows = file.read(columns=_columns_of(version)).to_pylist()
    return [Measurement.from_row(row) for row in upgrade_rows(rows, version)]


def read_runs(paths: StrPath | Iterable[StrPath]) -> list[Measurement]:
    """Read files and folders; of rows with the same identity one is kept, as `choose_rows` says.

    Args:
        paths: one or several Parquet files or folders; a folder stands for its `*.parquet`, sorted by name.

    Raises:
        StoreError: a path is missing, a folder has no Parquet file, or a file cannot be read.
    """
    several = [paths] if isinstance(paths, (str, os.PathLike)) else paths
    return choose_rows(row for path in several for file in _list_files(Path(path)) for row in read_file(file))


def choose_rows(rows: Iterable[Measurement]) -> list[Measurement]:
    """Of rows with the same identity the last one that is `ok`, or else the last one, by when they were started.

    A try that failed later says nothing against what was measured before.
    """
    chosen: dict[tuple[object, ...], Measurement] = {}
    for row in rows:
        known = chosen.setdefault(row.identity, row)
        if (row.status == "ok", row.started_at) >= (known.status == "ok", known.started_at):
            chosen[row.identity] = row
    return list(chosen.values())


def load_frame(paths: StrPath | Iterable[StrPath]) -> "pd.DataFrame":
    """Data frame of `read_runs`; see `results.load`."""
    import pandas as pd  # noqa: PLC0415 - only this function needs it, and it is slow to import

    types = {pa.int64(): pd.Int64Dtype(), pa.bool_(): pd.BooleanDtype()}
    table = pa.Table.from_pylist([row.to_row() for row in read_runs(paths)], schema=SCHEMA)
    return table.to_pandas(types_mapper=types.get)


@dataclass(slots=True, kw_only=True)
class RunWriter:
    """An open run: adds measurements to its own file."""

    path: Path
    """The run's file; it appears with the first measurement."""
    earlier: Sequence[Measurement]
    """What the folder held when the run began."""
    lock: int
    """Descriptor of the folder's lock. A process that inherits it keeps the folder until it ends too."""
    refused: tuple[str, ...] = ()
    """Why rows that processes of killed runs left behind are not used, a sentence each."""
    _added: list[Measurement] = field(default_factory=list, init=False)

    def row_file(self, measurement: Measurement) -> Path:
        """Where the process of a case may leave its row, for `add` to be told of it or for the next run to find it."""
        file = _row_file(self.path.parent, measurement)
        with _writing(file):
            file.parent.mkdir(parents=True, exist_ok=True)  # somebody may have tidied up meanwhile
        return file

    def add(self, *measurements: Measurement) -> None:
        """Store more measurements; they are on disk when this returns, and files their processes left are gone.

        Where the folder has been removed meanwhile, it is made again with all the rows of this run.

        Raises:
            StoreError: they could not be written; the file keeps those before them.
        """
        left = [self.row_file(measurement) for measurement in measurements]
        write_file(self.path, [*self._added, *measurements])
        self._added.extend(measurements)
        for file in left:
            file.unlink(missing_ok=True)


def _tell_nobody(_: str) -> None:
    pass


@contextmanager
def open_run(
    folder: StrPath, name: str, *, patience: float = 0.0, tell: Callable[[str], object] = _tell_nobody
) -> Iterator[RunWriter]:
    """Open a new run in a folder, alone in it until the context ends.

    Rows that processes of a killed run left behind become rows of this one.

    Args:
        folder: created if missing; may hold earlier runs, which are read and left alone.
        name: beginning of the file name, such as the suite's name; the start time and process id follow.
        patience: seconds to wait for the processes of a run that has died itself.
        tell: called once with what is waited for.

    Raises:
        StoreError: another run is writing there, the folder cannot be created or written, or an earlier file in it
            cannot be read.
    """
    folder = Path(folder)
    with _locked(folder, patience, tell) as lock:
        with _writing(folder):
            (folder / _ROWS).mkdir(exist_ok=True)
            for leftover in (*folder.iterdir(), *(folder / _ROWS).iterdir()):
                if _PARTIAL.fullmatch(leftover.name):
                    leftover.unlink()
        earlier = read_runs(folder) if any(folder.glob("*.parquet")) else []
        left, refused = _read_left_rows(folder)
        started = datetime.now(UTC).strftime("%Y%m%dT%H%M%S%fZ")
        path = folder / f"{name[:_MOST_CHARACTERS]}-{started}-{os.getpid()}.parquet"
        writer = RunWriter(path=path, earlier=choose_rows([*earlier, *left]), lock=lock, refused=tuple(refused))
        if left:
            writer.add(*left)
        try:
            yield writer
        finally:
            with suppress(OSError):  # what is refused, or not yet read, stays
                (folder / _ROWS).rmdir()


def _row_file(folder: Path, measurement: Measurement) -> Path:
    return folder / _ROWS / f"{hashlib.sha256(repr(measurement.identity).encode()).hexdigest()[:32]}.parquet"


def _read_left_rows(folder: Path) -> tuple[list[Measurement], list[str]]:
    """Rows that processes left, and why others are refused."""
    rows: list[Measurement] = []
    refused: list[str] = []
    for file in sorted((folder / _ROWS).iterdir()):
        try:
            found = read_file(file)
        except StoreError as error:
            refused.append(str(error))
            continue
        if len(found) != 1 or _row_file(folder, found[0]) != file:
            refused.append(f"{file} does not hold the row that its name stands for")
            continue
        rows += found
    return rows, refused


@contextmanager
def _locked(folder: Path, patience: float, tell: Callable[[str], object]) -> Iterator[int]:
    """Hold the folder's lock. The kernel lets go of it when all that hold it have ended, however they end."""
    with _writing(folder):
        if folder.exists() and not folder.is_dir():
            raise StoreError(f"{folder} is a file, not a folder; choose another --out")
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / _LOCK).open("a+")
    with file:
        deadline = time.monotonic() + patience
        with _writing(folder):
            while not _try_lock(file):
                file.seek(0)
                holder = file.read().strip() or "unknown"
                if not _has_died(holder):
                    message = f"another run (pid {holder}) is writing to {folder}; wait for it or choose another --out"
                    raise StoreError(message)
                if time.monotonic() >= deadline:
                    message = f"processes of a run that has died (pid {holder}) still write to {folder}"
                    raise StoreError(f"{message}; end them (`fuser {folder / _LOCK}`) or choose another --out")
                tell(f"waiting up to {patience:g} s for the last cases of a run that has died (pid {holder})")
                tell = _tell_nobody
                time.sleep(_WAIT_SECONDS)
            file.truncate(0)
            file.write(str(os.getpid()))
            file.flush()
        yield file.fileno()


def _try_lock(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _has_died(pid: str) -> bool:
    if not pid.isdecimal():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except (PermissionError, OverflowError):
        pass
    return False


def _replace_bytes(path: Path, content: pa.Buffer) -> None:
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
        _sync_folder(path.parent)
    finally:
        partial.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """Have the new name on disk as well, where the file system can do that."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _list_files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    files = sorted(path.glob("*.parquet"))
    if not files:
        raise StoreError(f"no measurements in {path}: the folder has no .parquet file")
    return files


def _check_whole(path: Path, content: bytes) -> None:
    """Parquet begins and ends with the same four bytes, so a cut file is told from a foreign one."""
    if not content.startswith(_MAGIC):
        raise StoreError(f"{path} is not a Parquet file; move it away")
    if not content.endswith(_MAGIC):
        raise StoreError(
            f"{path} is cut short ({len(content)} bytes): its writer or a copy of it was interrupted; move it away"
        )


def _columns_of(version: int) -> list[str]:
    added = added_columns(version)
    return [name for name in SCHEMA.names if name not in added]


def _check_schema(path: Path, schema: pa.Schema) -> int:
    """Version of a file's schema, whose columns are those of the record then."""
    metadata = schema.metadata or {}
    if metadata.get(b"kind") != KIND.encode():
        shown = ", ".join(schema.names[:5]) + (", ..." if len(schema.names) > 5 else "")  # noqa: PLR2004 - a taste
        raise StoreError(f"{path} is Parquet, but not peakbench's (columns: {shown})")
    version = metadata.get(b"schema_version", b"").decode(errors="replace")
    if not version.isdecimal() or int(version) < 1:
        raise StoreError(f"{path} does not say its schema version (schema_version: '{version}')")
    if int(version) > SCHEMA_VERSION:
        reach = f"schema {version}, this one reads up to {SCHEMA_VERSION}"
        raise StoreError(f"{path} was written by a newer peakbench ({reach}): upgrade")
    names = _columns_of(int(version))
    missing = [name for name in names if name not in schema.names]
    if missing:
        raise StoreError(f"{path} lacks columns of schema {version}: {', '.join(missing)}")
    for name in names:
        found, expected = schema.field(name), SCHEMA.field(name)
        if not found.equals(expected):
            raise StoreError(f"{path}: column {name} is {_in_words(found)}, expected {_in_words(expected)}")
    return int(version)


def _in_words(column: pa.Field) -> str:
    return f"{column.type}{'' if column.nullable else ' without nulls'}"


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        # Damaged bytes make pyarrow raise nearly anything: OSError, ArrowInvalid, KeyError, UnicodeDecodeError.
        raise StoreError(f"{path} is damaged: {error}; move it away") from error


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except StoreError:
        raise
    except OSError as error:
        way_out = _WAYS_OUT.get(error.errno or 0, "choose")
        raise StoreError(f"cannot write {path}: {error.strerror}; {way_out} another --out") from error
