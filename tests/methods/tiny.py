"""A tiny chain and a batch, for tests of methods; and what counts on tensors without data."""

from contextlib import contextmanager

import torch

from bench.probes.flops import FlopCounter
from bench.simulator import shapes
from bench.simulator.torch_private import EagerDispatchMode
from bench.workloads.data import synthetic_batch
from bench.workloads.networks import network_for
from methods.datasets import DATASETS
from methods.registry import read_spec
from methods.sequential import build_training_network
from partition import parse_split

TINY = "cifar_resnet14"


def build(spec, module_count, *, network=TINY, split="equal", seed=0):
    """A method on a small CIFAR ResNet of 7 units, images of 8 pixels, in training mode."""
    parts, size = read_spec(spec).parts, 8 if network == TINY else 32
    backbone = network_for(parts, network, module_count, size)
    torch.manual_seed(seed)
    chain = backbone.build(DATASETS["cifar10"], size)
    return build_training_network(chain, parse_split(split, backbone.unit_names, module_count), parts).train()


def make_batch():
    """16 images of 8 pixels with labels."""
    return synthetic_batch(DATASETS["cifar10"], 8, 16, "cpu", seed=1)


class _Remembered(EagerDispatchMode):
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return shapes.call(func, args, kwargs or {})


@contextmanager
def counting_without_data():
    """A counter of FLOPs; tensors are made without data, and no signature of an operator is computed twice."""
    with torch.device("meta"), _Remembered(), FlopCounter() as counter:
        yield counter
