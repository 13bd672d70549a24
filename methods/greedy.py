"""Greedy supervised learning (Greedy SL): every module is trained by a linear classifier on its pooled output.

Each module but the last has the head `0c1f` (global average pooling and one linear layer) with cross-entropy. Modules
are isolated from each other and trained in the same step. Greedy SL+ does the same on a deeper backbone, so that a
training step costs as much arithmetic as InfoPro's with as many modules.

Source: Belilovsky et al. 2019; as benchmarked in InfoPro (ICLR 2021), Table 1.
Departures: the depths of Greedy SL+ were not published. Here a CIFAR ResNet gets as many more blocks as come nearest to
the forward multiply-adds of InfoPro's auxiliary networks (contrastive, every weight above 0) on its equal split.
"""

from collections.abc import Sequence

from methods.api import STEP, Method
from methods.datasets import ImageSize, height_and_width
from partition import equal_split

_OWN = {"local_loss": "softmax", "head": "0c1f"}

GREEDY = Method(
    name="greedy",
    summary="Greedy SL: a linear classifier on the pooled output of every module",
    source="Belilovsky et al. 2019; InfoPro (ICLR 2021) Table 1",
    begins=_OWN,
    options=(STEP,),
)
GREEDY_PLUS = Method(
    name="greedy_plus",
    summary="Greedy SL+: Greedy SL on a CIFAR ResNet with more blocks, for as many FLOPs as InfoPro",
    source="Belilovsky et al. 2019; InfoPro (ICLR 2021) Table 1",
    begins={**_OWN, "deeper": True},
    options=(STEP,),
)

_WIDTHS = (16, 32, 64)
_DECODER_WIDTH = 12
_EMBEDDING_SIZE = 128
_FIRST_CONVOLUTIONS = ((2, 32), (2, 64), (1, 64))
"""Stride and output channels of a head's convolution, by stage."""


def infopro_multiply_adds(stage: int, image_size: ImageSize) -> int:
    """Forward multiply-adds of InfoPro's decoder and contrastive head `1c2f` for one image.

    Args:
        stage: of the CIFAR ResNet whose output they read, 0 to 2; the stem's output is like stage 0's.
        image_size: pixels.
    """
    height, width = height_and_width(image_size)
    stride, head_width = _FIRST_CONVOLUTIONS[stage]
    scale = 2**stage * stride
    decoder = height * width * 9 * _DECODER_WIDTH * (_WIDTHS[stage] + 3)
    head = -(-height // scale) * -(-width // scale) * 9 * _WIDTHS[stage] * head_width
    return decoder + head + head_width * _EMBEDDING_SIZE + _EMBEDDING_SIZE**2


def matching_blocks(blocks: Sequence[int], image_size: ImageSize, module_count: int) -> tuple[int, ...]:
    """Blocks of each stage of the CIFAR ResNet that costs Greedy SL what InfoPro costs on this one.

    A block has the same multiply-adds in every stage, so the added ones are spread as evenly as possible; where they
    do not divide, later stages get one more, as modules do in an equal split.

    Args:
        blocks: of each of the three stages.
        image_size: pixels.
        module_count: K.

    Raises:
        SplitError: the chain of 1 + sum(blocks) units has no K modules.
    """
    stages = [0, *(stage for stage, count in enumerate(blocks) for _ in range(count))]
    ends = equal_split(len(stages), module_count).last_units[:-1]
    height, width = height_and_width(image_size)
    block = 2 * 9 * _WIDTHS[0] ** 2 * height * width
    added = round(sum(infopro_multiply_adds(stages[end], image_size) for end in ends) / block)
    each, rest = divmod(added, len(blocks))
    return tuple(count + each + (1 if stage >= len(blocks) - rest else 0) for stage, count in enumerate(blocks))
