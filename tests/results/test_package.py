import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

import results
from results.store import StoreError, write_file

ROOT = Path(__file__).parents[2]


def test_importing_results_brings_no_other_package():
    script = (
        "import sys, results; print(sorted({name.partition('.')[0] for name in sys.modules} - sys.stdlib_module_names))"
    )
    done = subprocess.run([sys.executable, "-S", "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "['__main__', 'results']\n"


def test_load_gives_a_frame_with_one_row_per_measurement(tmp_path, with_modules):
    write_file(tmp_path / "a.parquet", [with_modules(2), with_modules(4)])
    frame = results.load(tmp_path)
    assert isinstance(frame, pd.DataFrame)
    assert list(frame["module_count"]) == [2, 4]
    assert frame["peak_allocated_bytes"].dtype == pd.Int64Dtype()
    assert list(frame["step_seconds"][0]) == [0.5, 0.25]
    assert frame["theoretical_overhead"].dtype == float
    assert frame["training_flops"].isna().all()
    assert frame["first_loss"].isna().all()


def test_load_takes_one_path_or_several(tmp_path, with_modules):
    one, two = tmp_path / "one.parquet", tmp_path / "two.parquet"
    write_file(one, [with_modules(2)])
    write_file(two, [with_modules(4)])
    assert len(results.load(str(one))) == 1
    assert list(results.load([two, one])["module_count"]) == [4, 2]


def test_load_of_nothing_raises(tmp_path):
    with pytest.raises(StoreError, match="no measurements in"):
        results.load(tmp_path)
