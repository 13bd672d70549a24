"""The arithmetic of boosting between rounds: BoostResNet's costs and edges, and AdaBoost.M2's weights and votes.

Pure functions of a whole training set's class probabilities; nothing here is part of a training step. A round of
BoostResNet: `costs` of the scores so far, train until `gamma` of the new and the last `edge` is above the threshold,
then `add_hypothesis` with the two `alpha`. A round of AdaBoost.M2: train on images drawn by `image_weights`, then
`pseudo_loss`, `beta`, `reweigh`, `vote`.

Shapes: n images, C classes; scores, probabilities, costs and distributions (n, C), labels (n,), all others scalars.

Source: Huang et al., BoostResNet (ICML 2018), and its authors' script; Freund and Schapire 1997, AdaBoost.M2.
"""

import math

import torch
from torch import Tensor


def costs(scores: Tensor, labels: Tensor) -> Tensor:
    """Cost of every class: exp(s_l - s_y) of a wrong one, minus their sum of the right one; rows sum to 0."""
    right = labels[:, None]
    wrong = (scores - scores.gather(1, right)).exp().scatter(1, right, 0.0)
    return wrong.scatter(1, right, -wrong.sum(1, keepdim=True))


def edge(probabilities: Tensor, costs: Tensor, labels: Tensor) -> float:
    """Gamma tilde of a hypothesis: minus its cost over that of all wrong classes; 1 is perfect, 0 uniform guessing."""
    total = -costs.gather(1, labels[:, None]).sum()
    return float(-(probabilities * costs).sum() / total)


def gamma(edge: float, last_edge: float) -> float:
    """Gain of a round over the last: sqrt((edge^2 - last^2) / (1 - last^2)), with the sign of what is under the root.

    Raises:
        ValueError: the last hypothesis was perfect, so that nothing can be gained.
    """
    if abs(last_edge) >= 1:
        raise ValueError(f"the last hypothesis makes no error, there is nothing to boost (edge: {last_edge})")
    gain = (edge**2 - last_edge**2) / (1 - last_edge**2)
    return math.copysign(math.sqrt(abs(gain)), gain)


def alpha(edge: float) -> float:
    """Weight of a hypothesis: half the log of (1 + edge) / (1 - edge).

    Raises:
        ValueError: the hypothesis is perfect, so that its weight has no bound.
    """
    if abs(edge) >= 1:
        raise ValueError(f"a hypothesis without errors has no finite weight (edge: {edge})")
    return math.atanh(edge)


def add_hypothesis(
    scores: Tensor, new_alpha: float, new: Tensor, last_alpha: float = 0.0, last: Tensor | None = None
) -> Tensor:
    """Scores with the weak classifier of a round: plus alpha of the new hypothesis, minus that of the last."""
    scores = scores + new_alpha * new
    return scores if last is None else scores - last_alpha * last


def initial_distribution(labels: Tensor, class_count: int) -> Tensor:
    """Uniform over all pairs of an image and a wrong class; sums to 1."""
    pairs = torch.ones(len(labels), class_count, dtype=torch.float64).scatter(1, labels[:, None], 0.0)
    return pairs / pairs.sum()


def image_weights(distribution: Tensor) -> Tensor:
    """Probability of every image, (n,): what the next round's images are drawn by."""
    return distribution.sum(1)


def pseudo_loss(distribution: Tensor, probabilities: Tensor, labels: Tensor) -> float:
    """Half the mean of 1 - h(x, y) + h(x, l) over pairs of an image and a wrong class l; 1/2 is uniform guessing."""
    right = probabilities.gather(1, labels[:, None])
    return float(0.5 * (distribution * (1 - right + probabilities)).sum())


def beta(pseudo_loss: float) -> float:
    """Pseudo-loss over what is left of 1.

    Raises:
        ValueError: the pseudo-loss is not between 0 and 1.
    """
    if not 0 < pseudo_loss < 1:
        raise ValueError(f"a pseudo-loss lies between 0 and 1, both left out (pseudo-loss: {pseudo_loss})")
    return pseudo_loss / (1 - pseudo_loss)


def reweigh(distribution: Tensor, probabilities: Tensor, labels: Tensor, beta: float) -> Tensor:
    """The next round's distribution: times beta^((1 + h(x, y) - h(x, l)) / 2), made to sum to 1."""
    right = probabilities.gather(1, labels[:, None])
    weighed = distribution * beta ** (0.5 * (1 + right - probabilities))
    return weighed / weighed.sum()


def vote(beta: float) -> float:
    """Weight of a round's network at inference: log(1 / beta)."""
    return -math.log(beta)
