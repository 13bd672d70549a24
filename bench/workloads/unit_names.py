"""Names of the units of every backbone, known without building it. Imports no torch.

Blocks are `layer<stage>.<block>` as in torchvision, stages from 1 and blocks from 0.
"""

from collections.abc import Sequence

VGG11_UNITS = tuple(f"conv{number}" for number in range(1, 9))
"""By convolution, from 1."""


def staged_units(blocks: Sequence[int]) -> tuple[str, ...]:
    """Names of a stem and stages of so many blocks: `stem`, `layer1.0`, .."""
    return ("stem", *(f"layer{stage}.{block}" for stage, count in enumerate(blocks, 1) for block in range(count)))


def densenet_units(depth: int) -> tuple[str, ...]:
    """Of a DenseNet-BC of depth 6n+4: `stem`, `layer1.0`, .. `layer1.n-1`, `t1`, `layer2.0`, .. `t2`, .. `layer3.n-1`.

    `layer2.6` is the seventh dense layer of the second block, `t1` the transition behind the first.
    """
    layers = range((depth - 4) // 6)
    names = ["stem"]
    for block in (1, 2, 3):
        names += [f"t{block - 1}"] if block > 1 else []
        names += [f"layer{block}.{layer}" for layer in layers]
    return tuple(names)
