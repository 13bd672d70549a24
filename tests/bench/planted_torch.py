"""Functions with faults that need torch, to be run in a process of their own by the tests of isolation."""

import torch


def allocate_too_much(report):
    report("one huge tensor")
    torch.empty(2**50)


def fill_memory(report):
    report("filling")
    kept = []
    while True:
        kept.append(torch.ones(2**24))


def tell_cuda(report):
    return torch.cuda.is_initialized()
