"""Features between rounds: what is stored trains the next module as the frozen modules themselves would."""

import pytest
import torch

from bench.stored_features import layout_of, store_features, stored_batches
from tests.methods.tiny import build, make_batch


@pytest.mark.parametrize(("k", "with_images"), [(1, True), (2, True), (3, False)])
def test_a_step_on_stored_features_is_the_step_on_images(tmp_path, k, with_images):
    images, labels = make_batch()
    stored, computed = (build("asy_infopro[softmax,cache=store]", 4).start_round(k) for _ in range(2))
    batches = [(images[:10], labels[:10]), (images[10:], labels[10:])]
    path = store_features(stored, batches, 16, tmp_path / "features.arrow")
    assert (layout_of(stored).images is not None) == with_images
    ((some, given, features),) = stored_batches(path, 16, "cpu")
    # The pass is shuffled: find each row's image by its features.
    expected = computed.earlier_features(images, labels)
    order = (features.flatten(1)[:, None] - expected.flatten(1)[None]).abs().amax(2).argmin(1)
    assert sorted(order.tolist()) == list(range(16))
    assert order.tolist() != list(range(16))
    assert torch.equal(given, labels[order])
    assert torch.equal(some, images[order]) if with_images else some.shape == (16, 0)
    one = stored.training_step(some, given, features=features).losses[0]
    other = computed.training_step(images[order], labels[order]).losses[0]
    torch.testing.assert_close(one, other)


def test_a_pass_is_cut_into_batches_and_shuffled_by_its_seed(tmp_path):
    network = build("asy_infopro", 2).start_round(1)
    path = store_features(network, [make_batch()], 16, tmp_path / "features.arrow")
    sizes = [len(labels) for _, labels, _ in stored_batches(path, 6, "cpu")]
    assert sizes == [6, 6, 4]

    def features(seed):
        return torch.cat([features for _, _, features in stored_batches(path, 6, "cpu", seed)])

    assert torch.equal(features(1), features(1))
    assert not torch.equal(features(1), features(2))


def test_the_first_round_has_nothing_to_store():
    with pytest.raises(ValueError, match="the first round reads images"):
        layout_of(build("asy_infopro", 2))
