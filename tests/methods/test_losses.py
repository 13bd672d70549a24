import math

import pytest
import torch
from torch.nn import functional

from methods.losses import reconstruction_loss, supervised_contrastive_loss

# methods.md section 4: embeddings, and values for two labellings at two temperatures.
EMBEDDINGS = torch.tensor([(1.0, 0), (1, 1), (0, 1), (-1, 0), (0, 2)])


@pytest.mark.parametrize(
    ("labels", "temperature", "reduction", "expected"),
    [
        ((0, 0, 1, 2, 1), 0.07, "anchor", 0.225787),
        ((0, 0, 1, 2, 1), 0.5, "anchor", 0.548397),
        ((0, 0, 1, 2, 1), 0.07, "pair", 0.282234),
        ((0, 0, 1, 2, 1), 0.5, "pair", 0.685496),
        ((0, 0, 0, 1, 1), 0.07, "anchor", 6.078707),
        ((0, 0, 0, 1, 1), 0.5, "anchor", 1.521687),
        ((0, 0, 0, 1, 1), 0.07, "pair", 5.724133),
        ((0, 0, 0, 1, 1), 0.5, "pair", 1.468445),
    ],
)
def test_contrastive_loss_has_the_published_values(labels, temperature, reduction, expected):
    loss = supervised_contrastive_loss(EMBEDDINGS, torch.tensor(labels), temperature=temperature, reduction=reduction)
    assert loss.item() == pytest.approx(expected, abs=1e-6)


def by_hand(embeddings, labels, temperature, reduction):
    """The definition, pair by pair."""
    z = [row / row.norm() for row in embeddings.double()]
    n = len(z)
    log_p = {}
    for i in range(n):
        total = sum(math.exp(z[i] @ z[k] / temperature) for k in range(n) if k != i)
        log_p |= {(i, j): (z[i] @ z[j] / temperature).item() - math.log(total) for j in range(n) if j != i}
    positives = [[j for j in range(n) if j != i and labels[i] == labels[j]] for i in range(n)]
    if reduction == "pair":
        pairs = [(i, j) for i in range(n) for j in positives[i]]
        return -sum(log_p[pair] for pair in pairs) / len(pairs)
    return -sum(sum(log_p[i, j] for j in positives[i]) / max(1, len(positives[i])) for i in range(n)) / n


@pytest.mark.parametrize("reduction", ["anchor", "pair"])
@pytest.mark.parametrize("seed", range(5))
def test_contrastive_loss_equals_its_definition(seed, reduction):
    generator = torch.Generator().manual_seed(seed)
    embeddings = torch.randn(12, 6, generator=generator)
    labels = torch.randint(4, (12,), generator=generator)
    loss = supervised_contrastive_loss(embeddings, labels, temperature=0.3, reduction=reduction)
    assert loss.item() == pytest.approx(by_hand(embeddings, labels.tolist(), 0.3, reduction), rel=1e-5)


@pytest.mark.parametrize("reduction", ["anchor", "pair"])
@pytest.mark.parametrize("labels", [(0, 1, 2, 3, 4), (7,)])
def test_contrastive_loss_is_zero_with_a_graph_where_no_pair_is_positive(labels, reduction):
    embeddings = EMBEDDINGS[: len(labels)].clone().requires_grad_()
    loss = supervised_contrastive_loss(embeddings, torch.tensor(labels), reduction=reduction)
    loss.backward()
    assert loss.item() == 0
    assert torch.equal(embeddings.grad, torch.zeros_like(embeddings))


@pytest.mark.parametrize("reduction", ["anchor", "pair"])
def test_contrastive_loss_does_not_depend_on_order_or_scale(reduction):
    generator = torch.Generator().manual_seed(1)
    embeddings, labels = torch.randn(16, 8, generator=generator), torch.arange(16) % 5
    order = torch.randperm(16, generator=generator)
    loss = supervised_contrastive_loss(embeddings, labels, reduction=reduction)
    shuffled = supervised_contrastive_loss(3 * embeddings[order], labels[order], reduction=reduction)
    assert shuffled.item() == pytest.approx(loss.item(), rel=1e-5)


def test_contrastive_loss_is_computed_in_float32_under_autocast():
    generator = torch.Generator().manual_seed(2)
    embeddings, labels = torch.randn(32, 16, generator=generator), torch.arange(32) % 4
    exact = supervised_contrastive_loss(embeddings.bfloat16().float(), labels)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = supervised_contrastive_loss(embeddings.bfloat16(), labels)
    assert loss.dtype == torch.float32
    assert torch.equal(loss, exact)


def test_contrastive_gradient_is_that_of_the_definition():
    embeddings = torch.randn(7, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(3)).requires_grad_()
    labels = torch.tensor([0, 1, 0, 1, 2, 0, 3])
    assert torch.autograd.gradcheck(lambda x: supervised_contrastive_loss(x, labels, temperature=0.5), (embeddings,))


def normalisation():
    return torch.tensor([0.4, 0.5, 0.6]).view(3, 1, 1), torch.tensor([0.2, 0.25, 0.3]).view(3, 1, 1)


def test_reconstruction_target_is_the_image_before_normalisation():
    mean, std = normalisation()
    pixels = torch.rand(2, 3, 4, 4, generator=torch.Generator().manual_seed(4))
    guess = torch.rand(2, 3, 4, 4, generator=torch.Generator().manual_seed(5))
    loss = reconstruction_loss(guess, (pixels - mean) / std, mean, std)
    expected = -(pixels * guess.log() + (1 - pixels) * (1 - guess).log()).mean()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)


def test_reconstruction_is_best_where_it_equals_the_image():
    mean, std = normalisation()
    pixels = torch.rand(2, 3, 4, 4, generator=torch.Generator().manual_seed(6)).clamp(0.01, 0.99)
    images = (pixels - mean) / std
    best = reconstruction_loss(pixels, images, mean, std)
    for shift in (-0.005, 0.005):
        assert best < reconstruction_loss(pixels + shift, images, mean, std)


def test_black_and_white_pixels_stay_valid_targets_after_rounding():
    mean, std = normalisation()
    pixels = torch.cat([torch.zeros(1, 3, 4, 4), torch.ones(1, 3, 4, 4)])
    images = (pixels - mean) / std * (1 + 1e-6)
    guess = torch.full_like(pixels, 0.5)
    with pytest.raises(RuntimeError, match="between 0 and 1"):
        functional.binary_cross_entropy(guess, images * std + mean)
    assert reconstruction_loss(guess, images, mean, std).item() == pytest.approx(math.log(2), rel=1e-5)
