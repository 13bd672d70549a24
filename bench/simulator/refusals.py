"""What a simulated step may not do, said with the place and the way out."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

import torch
from torch import nn


class StepError(RuntimeError):
    """A step that cannot be simulated: it needs values, an operator without meta kernel, or what is not modelled."""


_STREAMS = "Several streams are not modelled: run the step on one."
_GRAPHS = "CUDA graphs are not modelled: run the step as it is."
_RECURRENT = (
    "cuDNN's recurrent layers are not modelled, as their reserve is known to cuDNN alone: write the recurrence with "
    "cells, or leave the layer out."
)
_REFUSED: tuple[tuple[Any, str, str, str], ...] = (
    (torch.cuda, "Stream", "torch.cuda.Stream", _STREAMS),
    (torch.cuda, "stream", "torch.cuda.stream", _STREAMS),
    (torch.cuda, "graph", "torch.cuda.graph", _GRAPHS),
    (torch.cuda, "CUDAGraph", "torch.cuda.CUDAGraph", _GRAPHS),
    (nn.LSTM, "forward", "aten.lstm", _RECURRENT),
    (nn.GRU, "forward", "aten.gru", _RECURRENT),
    (nn.RNN, "forward", "aten.rnn", _RECURRENT),
)
"""Owner, name, what the message calls it, and why."""


@contextmanager
def refuse(here: Callable[[], object]) -> Iterator[None]:
    """While it lasts, what is not modelled raises; waiting for the device does nothing.

    Args:
        here: says the place that is under way.
    """
    with ExitStack() as stack:
        for owner, name, called, reason in _REFUSED:
            stack.enter_context(patch.object(owner, name, _raiser(here, called, reason)))
        stack.enter_context(patch.object(torch.cuda, "synchronize", _nothing))
        yield


def explain(operator: object, place: object, error: Exception) -> StepError:
    """What to tell of an operator that failed on tensors without data."""
    reason = str(error).splitlines()[0].partition(" You may have run into")[0].rstrip(".")
    if "expected device" in reason or "same device" in reason:
        advice = "Make every tensor of the step on the device of its inputs (device=x.device)."
    elif "no fake impl or Meta kernel" in reason and not str(operator).startswith("aten."):
        advice = "Give it a kernel for such tensors (torch.library.register_fake), or leave it out of the step."
    else:
        advice = "Keep what depends on values (item(), nonzero, boolean masks) out of the step that is simulated."
    return StepError(f"{operator} in {place} cannot run on tensors without data ({reason}). {advice}")


def _raiser(here: Callable[[], object], called: str, reason: str) -> Callable[..., Any]:
    def refused(*_: Any, **__: Any) -> Any:
        raise StepError(f"{called} in {here()} cannot be simulated. {reason}")

    return refused


def _nothing(*_: Any, **__: Any) -> None:
    return None
