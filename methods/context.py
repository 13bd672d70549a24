"""Context networks of ContSup: what the junction behind a local module adds to its output.

Source: ContSup (arXiv 2312.07636), section 3 and Tables 7, 8; released `ContSupNode`.
"""

from collections.abc import Mapping

from torch import Tensor, nn

from methods.api import Context
from methods.datasets import ImageSize


def image_encoder(channels: int, size: ImageSize, hidden: int | None = 12) -> nn.Sequential:
    """E_k: image (batch, 3, height, width) to (batch, channels, size, size), convolving at full resolution.

    Args:
        channels: of the output.
        size: side, or height and width, of the output.
        hidden: width between the convolutions; None: `channels`.
    """
    width = hidden or channels
    return nn.Sequential(
        nn.Conv2d(3, width, 3, padding=1),
        nn.BatchNorm2d(width),
        nn.ReLU(),
        nn.Conv2d(width, channels, 3, padding=1),
        nn.BatchNorm2d(channels),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(size),
    )


def feature_encoder(source_channels: int, channels: int, size: ImageSize) -> nn.Sequential:
    """R_kj: an earlier module's input to (batch, channels, size, size), by a 1x1 convolution."""
    return nn.Sequential(
        nn.Conv2d(source_channels, channels, 1), nn.BatchNorm2d(channels), nn.ReLU(), nn.AdaptiveAvgPool2d(size)
    )


class Junction(nn.Module):
    """Adds context to the output of local module k = 1 .. K-1 (counted from 1, as in the paper).

    Attributes:
        k: the junction.
        sources: indices j of the module inputs g_j that it encodes, g_0 the image; `Context.sources` says which.
    """

    def __init__(self, context: Context, k: int, shapes: list[tuple[int, int, int]]) -> None:
        """Build the encoders of junction `k`.

        Args:
            context: which encoders.
            k: the junction, from 1.
            shapes: (channels, height, width) of the image g_0 and of the module outputs h_1 .. h_{K-1}.
        """
        super().__init__()
        channels, height, width = shapes[k]
        size = (height, width)
        self.k = k
        self.sources = context.sources(k)
        self.image = image_encoder(channels, size, context.hidden) if context.image else None
        self.features = nn.ModuleList(feature_encoder(shapes[source][0], channels, size) for source in self.sources)

    def forward(self, output: Tensor, images: Tensor, contexts: Mapping[int, Tensor], *, keep: bool) -> Tensor:
        """g_k = h_k + encoded context.

        Args:
            output: h_k; overwritten where it has no gradient, unless `keep`.
            images: the batch of images.
            contexts: detached g_j by index j.
            keep: leave `output` as it is.
        """
        encoders = [] if self.image is None else [(self.image, images)]
        encoders += [(encoder, contexts[source]) for encoder, source in zip(self.features, self.sources, strict=True)]
        in_place = not (keep or output.requires_grad)
        for encoder, source in encoders:
            if in_place:
                output += encoder(source)
            else:
                output = output + encoder(source)
                in_place = True
        return output
