"""Decoupled greedy learning (DGL): every module is trained by a small convolutional classifier on its output.

Each module but the last has the head `1c2f` (one 3x3 convolution, pooling, two linear layers) with cross-entropy. It is
InfoPro without its decoder and ContSup without its context ([R0]).

Source: Belilovsky et al. 2020, as benchmarked in InfoPro (ICLR 2021) Table 2 and ContSup (arXiv 2312.07636) Table 2.
Departures: the authors' own code uses the heads `mlp-sr`, `mlp` or `cnn` (`head=mlp-sr`) and one optimizer per module
(`step=per_module`); the default head is the one both papers measured.
"""

from methods.api import HEAD, STEP, WIDEN, Method

DGL = Method(
    name="dgl",
    summary="DGL: a convolutional classifier on every module's output",
    source="Belilovsky et al. 2020; InfoPro (ICLR 2021) Table 2",
    begins={"local_loss": "softmax"},
    options=(HEAD, WIDEN, STEP),
)
