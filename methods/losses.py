"""The losses of local modules. Each returns a scalar tensor; none synchronises with the device."""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor
from torch.nn import functional


def supervised_contrastive_loss(
    embeddings: Tensor, labels: Tensor, *, temperature: float = 0.07, reduction: str = "anchor"
) -> Tensor:
    """Supervised contrastive loss over the pairs of a batch.

    With z normalised and s_ij = z_i . z_j / temperature, log p_ij = s_ij - log sum_{k != i} exp(s_ik); positives of
    anchor i are the other images of its class. Computed in float32 also where embeddings are narrower.

    Source: InfoPro (ICLR 2021), section 3.2; released `SupConLoss` (normalisation and reduction `anchor`).

    Args:
        embeddings: (batch, dimensions), any scale.
        labels: int, (batch,).
        temperature: above 0.
        reduction: `anchor` averages log p over each anchor's positives, then over all anchors, those without positives
            counting 0; `pair` averages over all ordered positive pairs.

    Returns:
        The loss; 0 where no pair is positive.
    """
    with _without_autocast(embeddings.device.type):
        wide = embeddings.dtype in (torch.float32, torch.float64)
        z = functional.normalize(embeddings if wide else embeddings.float(), dim=1)
        similarity = z @ z.T / temperature
        self_pairs = torch.eye(len(z), dtype=torch.bool, device=z.device)
        positives = (labels[:, None] == labels[None, :]) & ~self_pairs
        normaliser = similarity.masked_fill(self_pairs, -torch.inf).logsumexp(dim=1, keepdim=True)
        log_probability = (similarity - normaliser).masked_fill(~positives, 0.0).sum(dim=1)
        positive_count = positives.sum(dim=1)
        if reduction == "pair":
            return -log_probability.sum() / positive_count.sum().clamp(min=1)
        return -(log_probability / positive_count.clamp(min=1)).mean()


def _without_autocast(device_type: str) -> AbstractContextManager[object]:
    if torch.amp.is_autocast_available(device_type):
        return torch.autocast(device_type, enabled=False)
    return nullcontext()


def reconstruction_loss(reconstruction: Tensor, images: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """Mean binary cross-entropy between a decoder's output and the images before normalisation, in their type.

    Source: InfoPro (ICLR 2021), section 3.2; released `Decoder`.

    Args:
        reconstruction: (batch, 3, height, width) in (0, 1).
        images: normalised images of the same shape.
        mean: (3, 1, 1), what was subtracted from the images.
        std: (3, 1, 1), what they were divided by.
    """
    # Rounding can leave [0, 1], which binary cross-entropy refuses; autocast refuses binary cross-entropy.
    target = (images * std + mean).clamp_(0, 1)
    with _without_autocast(images.device.type):
        return functional.binary_cross_entropy(reconstruction.to(images.dtype), target)
