"""Greedy supervised learning (Greedy SL): every module is trained by a linear classifier on its pooled output.

Each module but the last has the head `0c1f` (global average pooling and one linear layer) with cross-entropy. Modules
are isolated from each other and trained in the same step.

Source: Belilovsky et al. 2019; as benchmarked in InfoPro (ICLR 2021), Table 1.
Departures: none known.
"""

from methods.api import STEP, Method

GREEDY = Method(
    name="greedy",
    summary="Greedy SL: a linear classifier on the pooled output of every module",
    source="Belilovsky et al. 2019; InfoPro (ICLR 2021) Table 1",
    begins={"local_loss": "softmax", "head": "0c1f"},
    options=(STEP,),
)
