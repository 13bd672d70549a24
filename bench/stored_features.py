"""Features on disk between the rounds of a sequential method (`cache=store`): written once, read in every step.

path = store_features(network, batches, 50_000, Path("features.arrow"))
for images, labels, features in stored_batches(path, 1024, device):
    network.training_step(images, labels, features=features)
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from methods.sequential import SequentialNetwork
from results.features import FeatureReader, FeatureWriter, Layout


def layout_of(network: SequentialNetwork) -> Layout:
    """What the present round of a network needs of every image: images themselves only where a decoder does.

    Raises:
        ValueError: the first round has images for its input.
    """
    chain, k = network.chain, network.round
    if k == 0:
        raise ValueError("the first round reads images, there are no features to store")
    decoder = str(k) in network.auxiliaries and network.parts.decoder
    return Layout(
        features=chain.unit_shapes[network.split.last_units[k - 1]],
        images=chain.image_shape if decoder else None,
        labels=chain.image_shape[1:] if chain.dataset.label_per_pixel else (),
    )


def store_features(
    network: SequentialNetwork, batches: Iterable[tuple[Tensor, Tensor]], image_count: int, path: Path
) -> Path:
    """Run the finished modules over batches and store what the present round needs.

    Args:
        network: in the round that will read the file.
        batches: images, normalised and augmented, and labels, on the network's device; as many passes as wanted.
        image_count: how many images they hold altogether.
        path: the file to be written.

    Raises:
        FeatureStoreError: the disk is too small; nothing is written.
    """
    layout = layout_of(network)
    with FeatureWriter(path, layout, image_count) as writer:
        for images, labels in batches:
            features = network.earlier_features(images, labels)
            writer.add(*map(_to_numpy, (features.float(), labels, *([images] if layout.images else []))))
    return path


def stored_batches(
    path: Path, batch_size: int, device: torch.device | str, seed: int = 0
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """One shuffled pass over a file: images (empty where none are stored), labels and features, on the device."""
    reader = FeatureReader(path)
    order = np.random.default_rng(seed).permutation(len(reader))
    for start in range(0, len(order), batch_size):
        columns = {
            name: torch.from_numpy(values) for name, values in reader.read(order[start : start + batch_size]).items()
        }
        features = columns["features"].to(device)
        images = columns["images"].to(device) if "images" in columns else features.new_empty(len(features), 0)
        yield images, columns["labels"].to(device), features


def _to_numpy(tensor: Tensor) -> np.ndarray:
    return tensor.detach().cpu().contiguous().numpy()
