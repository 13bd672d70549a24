"""Copies of later units at the beginning of an auxiliary network (MLAAN's leap augmented modules).

Source: MLAAN (arXiv 2406.16633), section 3; released code for the two sets of copies.
"""

from collections.abc import Sequence
from copy import deepcopy

import torch
from torch import Tensor, nn

from methods.api import Leap
from methods.chain import Chain


class LeapUnits(nn.Module):
    """Copies of units of the chain, applied one after the other to a module's output.

    Trained copies U, and an averaged copy V of the first of them whose output is added to that of U's first; or, with
    `single`, trained copies alone that are averaged as well.
    """

    def __init__(self, chain: Chain, units: Sequence[int], leap: Leap) -> None:
        """Copy units, weights included.

        Args:
            chain: where they are.
            units: which ones, in the order they are applied.
            leap: what is copied and how it follows the live weights.
        """
        super().__init__()
        self.leap = leap
        self.sources = tuple(units)
        self.trained = nn.ModuleList(deepcopy(chain.units[unit]) for unit in units)
        self.averaged = nn.ModuleList()
        if not leap.single:
            self.averaged.append(deepcopy(chain.units[units[0]]).requires_grad_(requires_grad=False))

    def forward(self, features: Tensor) -> Tensor:
        """Output of the last copy for a module's output (batch, channels, height, width)."""
        first, *rest = self.trained
        output = first(features)
        for unit in self.averaged:
            output = output + unit(features)
        for unit in rest:
            output = unit(output)
        return output

    @torch.no_grad()
    def follow(self, chain: Chain) -> None:
        """Move averaged weights towards the chain's: average = momentum * average + (1 - momentum) * live.

        Parameters only; running statistics stay the copies' own, as released.
        """
        for copy, source in zip(self.averaged or self.trained, self.sources, strict=False):
            averages, live = list(copy.parameters()), list(chain.units[source].parameters())
            if averages:
                torch.ops.aten._foreach_lerp_.Scalar(averages, live, 1 - self.leap.momentum)


class LeapAuxiliary(nn.Module):
    """An auxiliary network that reads a module's output through copies of later units."""

    def __init__(self, leap_units: LeapUnits, auxiliary: nn.Module) -> None:
        super().__init__()
        self.leap_units = leap_units
        self.auxiliary = auxiliary

    def forward(self, features: Tensor, images: Tensor, labels: Tensor) -> Tensor:
        """Loss of the module's output (batch, channels, height, width)."""
        return self.auxiliary(self.leap_units(features), images, labels)
