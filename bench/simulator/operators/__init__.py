"""What operators allocate for themselves on CUDA, beside their outputs.

A plan says, for one call, in which order memory comes and goes: temporaries are born and die, outputs are born. An
operator without a rule allocates its outputs in order and nothing else. A rule follows the C++ source it names, and was
held against the events of torch's own CUDA dispatch (`tests/oracle/record_operators.py`).

Rules stand in files by family; `plans.py` is what they write, `staging.py`, `sorting.py` and `strides.py` what several
of them need, `layouts.py` which strides results have.

Known limitations: workspaces of cuDNN are not here; sizes that depend on data (`nonzero`, boolean masks) have no rule;
depthwise convolutions in float16 are taken for torch's own kernels, although cuDNN gets some of them.
"""

from typing import Any

from bench.simulator.operators import (
    attention,
    convolution,
    elementwise,
    indices,
    lists,
    losses,
    matrices,
    normalisation,
    pooling,
    reductions,
    softmax,
)
from bench.simulator.operators.layouts import LAYOUTS, lay_out
from bench.simulator.operators.plans import Born, Device, Dies, Draft, Output, Plan, Rule

__all__ = ["LAYOUTS", "RULES", "Born", "Device", "Dies", "Output", "Plan", "lay_out", "plan_call"]

_FAMILIES = (
    attention,
    convolution,
    elementwise,
    indices,
    lists,
    losses,
    matrices,
    normalisation,
    pooling,
    reductions,
    softmax,
)

RULES: dict[Any, Rule] = {operator: rule for family in _FAMILIES for operator, rule in family.RULES.items()}


def plan_call(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], device: Device) -> Plan | None:
    """Plan of one call; None where the operator has no rule.

    Args:
        func: operator overload, such as `aten.mm.default`.
        args: positional arguments; of tensors only shape, strides and type are looked at.
        kwargs: keyword arguments.
        device: where it would run.
    """
    rule = RULES.get(func)
    if rule is None:
        return None
    draft = Draft(device)
    rule(draft, *args, **kwargs)
    return tuple(draft.items)
