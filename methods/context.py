"""Context networks of ContSup: what the junction behind a local module adds to its output.

Source: ContSup (arXiv 2312.07636), section 3 and Tables 7, 8; released `ContSupNode`.
"""

from torch import Tensor, nn

from methods.api import Context

IMAGE_ENCODER_WIDTH = 12


def image_encoder(channels: int, size: int) -> nn.Sequential:
    """E_k: image (batch, 3, height, width) to (batch, channels, size, size), convolving at full resolution."""
    return nn.Sequential(
        nn.Conv2d(3, IMAGE_ENCODER_WIDTH, 3, padding=1),
        nn.BatchNorm2d(IMAGE_ENCODER_WIDTH),
        nn.ReLU(),
        nn.Conv2d(IMAGE_ENCODER_WIDTH, channels, 3, padding=1),
        nn.BatchNorm2d(channels),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(size),
    )


def feature_encoder(source_channels: int, channels: int, size: int) -> nn.Sequential:
    """R_kj: an earlier module's input to (batch, channels, size, size), by a 1x1 convolution."""
    return nn.Sequential(
        nn.Conv2d(source_channels, channels, 1), nn.BatchNorm2d(channels), nn.ReLU(), nn.AdaptiveAvgPool2d(size)
    )


class Junction(nn.Module):
    """Adds context to the output of local module k = 1 .. K-1 (counted from 1, as in the paper).

    With [E] the image is encoded at every junction, with [Rn] the inputs g_{k-1}, g_{k-2}, .. of the last n modules,
    where g_0 is the image. Where both are asked for, the image is encoded once, by E alone.
    """

    def __init__(self, context: Context, k: int, shapes: list[tuple[int, int, int]]) -> None:
        """Build the encoders of junction `k`.

        Args:
            context: which encoders.
            k: the junction, from 1.
            shapes: (channels, height, width) of the image g_0 and of the module outputs h_1 .. h_{K-1}.
        """
        super().__init__()
        channels, size, _ = shapes[k]
        first_source = 1 if context.image else 0
        sources = [k - j for j in range(1, context.features + 1) if k - j >= first_source]
        self.image = image_encoder(channels, size) if context.image else None
        self.features = nn.ModuleList(feature_encoder(shapes[source][0], channels, size) for source in sources)

    def forward(self, output: Tensor, images: Tensor, inputs: list[Tensor]) -> Tensor:
        """g_k = h_k + encoded context.

        Args:
            output: h_k, detached; overwritten, because nothing else needs it any more.
            images: the batch of images.
            inputs: g_{k-1}, g_{k-2}, .. detached, latest first.
        """
        if self.image is not None:
            output += self.image(images)
        for encoder, source in zip(self.features, inputs, strict=False):
            output += encoder(source)
        return output
