"""Features on disk: sizes, what comes back, and a disk that is too small."""

import shutil
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest

from results.features import FeatureReader, FeatureStoreError, FeatureWriter, Layout

RESNET110_HALF = (32, 16, 16)
"""Output of the first of two modules."""


def test_sizes_are_those_of_the_paper_network():
    layout = Layout(features=RESNET110_HALF)
    assert layout.bytes_per_image - 8 == 32 * 2**10
    assert 50_000 * (layout.bytes_per_image - 8) / 2**30 == pytest.approx(1.53, abs=0.005)
    assert Layout(features=RESNET110_HALF, images=(3, 32, 32)).bytes_per_image == (32 + 12) * 2**10 + 8


def make_batches(layout, sizes):
    draw = np.random.default_rng(0)
    for size in sizes:
        batch = {
            "features": draw.random((size, *layout.features), dtype=np.float32),
            "labels": draw.integers(10, size=(size, *layout.labels)),
        }
        if layout.images:
            batch["images"] = draw.random((size, *layout.images), dtype=np.float32)
        yield batch


@pytest.mark.parametrize(
    "layout",
    [
        Layout(features=(4, 2, 2)),
        Layout(features=(4, 2, 2), images=(3, 4, 4)),
        Layout(features=(2, 3, 5), labels=(6, 10)),
    ],
)
def test_rows_come_back_as_they_were_in_any_order(tmp_path, layout):
    path, batches = tmp_path / "features.arrow", list(make_batches(layout, (4, 4, 3)))
    with FeatureWriter(path, layout, 11) as writer:
        for batch in batches:
            writer.add(**batch)
    reader = FeatureReader(path)
    assert len(reader) == 11
    rows = [10, 0, 7, 4, 3, 3]
    found = reader.read(rows)
    assert found.keys() == batches[0].keys()
    for name, values in found.items():
        assert np.array_equal(values, np.concatenate([batch[name] for batch in batches])[rows])
    assert path.stat().st_size == pytest.approx(11 * layout.bytes_per_image, abs=8192)


def test_a_disk_that_is_too_small_is_told_before_anything_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=10**9))
    with pytest.raises(FeatureStoreError) as caught:
        FeatureWriter(tmp_path / "features.arrow", Layout(features=RESNET110_HALF), 50_000)
    text = str(caught.value)
    assert "need 1,638,800,000 bytes (50,000 images of 32,776)" in text
    assert f"{tmp_path} has 1,000,000,000 free: store fewer passes, use another folder, or cache=recompute" in text
    assert list(tmp_path.iterdir()) == []


def test_a_writer_that_is_broken_off_leaves_nothing(tmp_path):
    layout = Layout(features=(4, 2, 2))
    (batch,) = make_batches(layout, (3,))

    def break_off():
        with FeatureWriter(tmp_path / "features.arrow", layout, 3) as writer:
            writer.add(**batch)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        break_off()
    assert list(tmp_path.iterdir()) == []


def test_arrays_of_another_shape_are_refused(tmp_path):
    layout = Layout(features=(4, 2, 2), images=(3, 4, 4))
    (batch,) = make_batches(layout, (3,))
    with FeatureWriter(tmp_path / "features.arrow", layout, 3) as writer:
        with pytest.raises(ValueError, match=r"stored images .* not None"):
            writer.add(batch["features"], batch["labels"])
        with pytest.raises(ValueError, match="stored features"):
            writer.add(batch["features"][:, :3], batch["labels"], batch["images"])


def test_what_holds_no_features_is_refused(tmp_path):
    with pytest.raises(FeatureStoreError, match="cannot store features in"):
        FeatureWriter(tmp_path / "missing" / "features.arrow", Layout(features=(1, 1, 1)), 1)
    with pytest.raises(FeatureStoreError, match="cannot read stored features from"):
        FeatureReader(tmp_path / "nothing.arrow")
    (tmp_path / "text.arrow").write_text("not Arrow")
    with pytest.raises(FeatureStoreError, match="cannot read stored features from"):
        FeatureReader(tmp_path / "text.arrow")
    schema = pa.schema([pa.field("a", pa.int64())])
    with pa.ipc.new_file(str(tmp_path / "other.arrow"), schema) as writer:
        writer.write_batch(pa.record_batch([pa.array([1])], schema=schema))
    with pytest.raises(FeatureStoreError, match="holds no stored features"):
        FeatureReader(tmp_path / "other.arrow")
