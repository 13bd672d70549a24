"""End-to-end backprop (E2E): the whole network is one module, trained by the cross-entropy of its logits.

The reference of every ratio: no auxiliary network, no local loss, all activations alive until the backward.

Source: the baseline of InfoPro, ContSup and MLAAN.
Departures: none.
"""

from methods.api import Method

E2E = Method(name="e2e", summary="end-to-end backprop, the reference of every ratio", source="baseline of every paper")
