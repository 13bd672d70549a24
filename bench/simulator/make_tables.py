"""Makes the tables of convolution workspaces that are shipped beside the device profiles.

    python -m bench.simulator.make_tables

Asks cuDNN for every convolution of the CIFAR ResNets, at 32 and 96 pixels, and of their auxiliary and context networks;
all depths share their signatures. Needs cuDNN (`pip install 'peakbench[cudnn]'`), but no GPU. The first line of a table
names the version of cuDNN that answered.
"""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bench.simulator.cudnn_query import library_version
from bench.simulator.profiles import FOLDER, DeviceProfile, list_profiles, load_profile
from bench.simulator.workspaces import (
    DIRECTIONS,
    TENSOR_CORES_SINCE,
    ConvolutionSignature,
    format_table,
    runs_on_cudnn,
    workspace_source,
)
from bench.workloads.networks import get_network
from methods.chain import Chain
from methods.context import feature_encoder, image_encoder
from methods.decoders import make_decoder
from methods.heads import local_head

NETWORKS = ("resnet32", "resnet32@96")
BATCH_SIZES = (1024, 512, 256, 128, 64)
PRECISIONS = (("float32", True), ("float32", False), ("bfloat16", False), ("float16", False))
"""Data type, and whether TF32 is allowed."""
MEMORY_FORMATS = (False, True)
"""Whether channels are last."""


def list_layers(network: str) -> list[ConvolutionSignature]:
    """Forward convolutions of a network with all its possible auxiliary and context networks, at batch size 1."""
    layers: dict[ConvolutionSignature, None] = {}

    def note(module: nn.Module, inputs: tuple[Any, ...]) -> None:
        if isinstance(module, nn.Conv2d):
            layers[_signature_of(module, inputs[0])] = None

    entry = get_network(network)
    with torch.device("meta"), torch.no_grad(), nn.modules.module.register_module_forward_pre_hook(note):
        chain = entry.build(entry.dataset, entry.image_size_on(entry.dataset))
        chain(torch.empty(1, *chain.image_shape))
        for part, shape in _list_added(chain):
            part(torch.empty(1, *shape))
    return list(layers)


def _list_added(chain: Chain) -> Iterator[tuple[nn.Module, tuple[int, int, int]]]:
    """Auxiliary and context networks behind every stage, and the shape each of them reads."""
    stages = list(dict.fromkeys(chain.unit_shapes))
    for shape in stages:
        channels, height, _ = shape
        yield local_head(shape, chain.dataset.class_count, "2c2f"), shape
        yield make_decoder(shape, dataset=chain.dataset, image_shape=chain.image_shape), shape
        yield image_encoder(channels, height), chain.image_shape
        for source in (chain.image_shape, *stages[: stages.index(shape) + 1]):
            yield feature_encoder(source[0], channels, height), source


def _signature_of(module: nn.Conv2d, source: Tensor) -> ConvolutionSignature:
    if isinstance(module.padding, str):
        raise TypeError(f"padding in words is not understood: {module}")
    return ConvolutionSignature(
        direction="forward",
        dtype="float32",
        input_shape=tuple(source.shape),
        weight_shape=tuple(module.weight.shape),
        stride=module.stride,
        padding=module.padding,
        dilation=module.dilation,
        groups=module.groups,
    )


def make_table(profile: DeviceProfile, layers: Sequence[ConvolutionSignature]) -> str:
    """Table of a device: `layers` at every batch size, precision and memory format, in every direction.

    TF32 is left out below compute capability 8.0, where it changes nothing.
    """
    source = workspace_source("cudnn", profile)
    sizes: dict[ConvolutionSignature, int] = {}
    kinds = [kind for kind in PRECISIONS if not (kind[1] and profile.capability < TENSOR_CORES_SINCE["tf32"])]
    for (dtype, tf32), channels_last, batch, layer, direction in product(
        kinds, MEMORY_FORMATS, BATCH_SIZES, layers, DIRECTIONS
    ):
        signature = replace(
            layer,
            direction=direction,
            dtype=dtype,
            tf32=tf32,
            channels_last=channels_last,
            input_shape=(batch, *layer.input_shape[1:]),
        )
        if runs_on_cudnn(signature, profile.capability):
            sizes[signature] = source(signature)
    asked = f"Workspaces in bytes that cuDNN {library_version()} would ask for on {profile.title}"
    return format_table(sizes, [f"{asked}; made by python -m bench.simulator.make_tables"])


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the tables of all profiles, or of those named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("devices", nargs="*", default=list_profiles(), help="profiles; all by default")
    parser.add_argument("--to", type=Path, default=FOLDER, help="folder of the tables")
    options = parser.parse_args(arguments)
    layers = [layer for network in NETWORKS for layer in list_layers(network)]
    for name in options.devices:
        profile = load_profile(name)
        (options.to / f"{profile.name}.csv").write_text(make_table(profile, layers), encoding="utf-8")


if __name__ == "__main__":
    main()
