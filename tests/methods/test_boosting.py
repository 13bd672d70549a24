"""Boosting's arithmetic against values worked out by hand, and both algorithms on a small network."""

import math

import pytest
import torch
from torch.nn import functional

from methods import boosting
from tests.methods.tiny import build, make_batch

LABELS = torch.tensor([0, 2])
UNIFORM = torch.full((2, 3), 1 / 3, dtype=torch.float64)
PERFECT = functional.one_hot(LABELS, 3).double()
# h of image 0: right 0.5, wrong 0.3 and 0.2; of image 1: right 0.4, wrong 0.5 and 0.1.
SOME = torch.tensor([[0.5, 0.3, 0.2], [0.5, 0.1, 0.4]], dtype=torch.float64)


def test_costs_of_the_first_round_are_one_per_wrong_class():
    found = boosting.costs(torch.zeros(2, 3, dtype=torch.float64), LABELS)
    assert found.tolist() == [[-2, 1, 1], [1, 1, -2]]


def test_costs_grow_with_the_score_of_a_wrong_class():
    scores = torch.tensor([[math.log(2), math.log(6), 0.0]], dtype=torch.float64)
    found = boosting.costs(scores, torch.tensor([0]))
    torch.testing.assert_close(found, torch.tensor([[-3.5, 3.0, 0.5]], dtype=torch.float64))


def test_the_edge_of_guessing_is_zero_and_of_perfection_one():
    costs = boosting.costs(torch.zeros(2, 3, dtype=torch.float64), LABELS)
    assert boosting.edge(UNIFORM, costs, LABELS) == pytest.approx(0)
    assert boosting.edge(PERFECT, costs, LABELS) == pytest.approx(1)
    # <o, C> = (-1 + .3 + .2) + (.5 + .1 - .8) = -.7; all wrong classes cost 4.
    assert boosting.edge(SOME, costs, LABELS) == pytest.approx(0.175)


def test_gamma_keeps_the_sign_of_the_gain():
    assert boosting.gamma(0.5, 0.3) == pytest.approx(math.sqrt(0.16 / 0.91))
    assert boosting.gamma(0.3, 0.5) == pytest.approx(-math.sqrt(0.16 / 0.75))
    assert boosting.gamma(0.4, 0.0) == pytest.approx(0.4)


def test_alpha_is_half_the_log_odds_of_the_edge():
    assert boosting.alpha(0.6) == pytest.approx(0.5 * math.log(4))
    assert boosting.alpha(0.0) == 0


def test_weak_classifiers_telescope_to_the_last_hypothesis():
    hypotheses, alphas = [UNIFORM, SOME, PERFECT], [0.2, 0.7, 1.5]
    scores = boosting.add_hypothesis(torch.zeros(2, 3, dtype=torch.float64), alphas[0], hypotheses[0])
    for k in (1, 2):
        scores = boosting.add_hypothesis(scores, alphas[k], hypotheses[k], alphas[k - 1], hypotheses[k - 1])
    torch.testing.assert_close(scores, 1.5 * PERFECT)


def test_the_first_distribution_is_uniform_over_wrong_classes():
    found = boosting.initial_distribution(LABELS, 3)
    assert found.tolist() == [[0, 0.25, 0.25], [0.25, 0.25, 0]]
    assert boosting.image_weights(found).tolist() == [0.5, 0.5]


def test_the_pseudo_loss_and_what_follows_from_it():
    distribution = boosting.initial_distribution(LABELS, 3)
    assert boosting.pseudo_loss(distribution, UNIFORM, LABELS) == pytest.approx(0.5)
    assert boosting.pseudo_loss(distribution, PERFECT, LABELS) == pytest.approx(0)
    # 1 - .5 + .3 = .8, 1 - .5 + .2 = .7, 1 - .4 + .5 = 1.1, 1 - .4 + .1 = .7; half their mean.
    loss = boosting.pseudo_loss(distribution, SOME, LABELS)
    assert loss == pytest.approx(0.4125)
    assert boosting.beta(loss) == pytest.approx(0.4125 / 0.5875)
    assert boosting.vote(0.25) == pytest.approx(math.log(4))


def test_pairs_that_are_told_apart_lose_weight():
    """With beta 1/4 and exponents (1 + h_y - h_l) / 2 = .6, .65, .45, .65."""
    found = boosting.reweigh(boosting.initial_distribution(LABELS, 3), SOME, LABELS, 0.25)
    raw = {(0, 1): 0.25**0.6, (0, 2): 0.25**0.65, (1, 0): 0.25**0.45, (1, 1): 0.25**0.65}
    for place, value in raw.items():
        assert found[place].item() == pytest.approx(value / sum(raw.values()))
    assert found.sum().item() == pytest.approx(1)
    assert [found[0, 0].item(), found[1, 2].item()] == [0, 0]


@pytest.mark.parametrize(
    ("function", "arguments", "message"),
    [
        (boosting.gamma, (0.5, 1.0), "nothing to boost .edge: 1.0."),
        (boosting.alpha, (1.0,), "no finite weight .edge: 1.0."),
        (boosting.beta, (0.0,), "between 0 and 1, both left out .pseudo-loss: 0.0."),
    ],
)
def test_a_hypothesis_without_errors_says_so(function, arguments, message):
    with pytest.raises(ValueError, match=message):
        function(*arguments)


def train(network, images, labels, steps, make_optimizer):
    optimizer = make_optimizer(network.round_parameters())
    for _ in range(steps):
        optimizer.zero_grad()
        network.training_step(images, labels)
        torch.nn.utils.clip_grad_value_(network.round_parameters(), 0.1)
        optimizer.step()
    network.eval()
    with torch.no_grad():
        return network.hypothesis(images).double()


def test_boostresnet_gains_an_edge_in_every_round():
    images, labels = make_batch()
    network = build("boostresnet", 3)
    scores = torch.zeros(16, 10, dtype=torch.float64)
    last, last_alpha, last_edge = None, 0.0, 0.0
    for k in range(3):
        network.start_round(k)
        costs = boosting.costs(scores, labels)
        hypothesis = train(network, images, labels, 40, lambda group: torch.optim.Adam(group, 1e-3))
        edge = boosting.edge(hypothesis, costs, labels)
        assert boosting.gamma(edge, last_edge if k else 0.0) > -1 or k
        assert edge > 0
        scores = boosting.add_hypothesis(scores, boosting.alpha(edge), hypothesis, last_alpha, last)
        last, last_alpha, last_edge = hypothesis, boosting.alpha(edge), edge
    torch.testing.assert_close(scores, last_alpha * last)
    with torch.no_grad():
        assert torch.equal(scores.argmax(1), network(images).argmax(1)), "the deployed network is the last hypothesis"


def test_dib_votes_better_than_guessing():
    images, labels = make_batch()
    network = build("dib", 3)
    distribution = boosting.initial_distribution(labels, 10)
    generator = torch.Generator().manual_seed(0)
    for k in range(3):
        network.start_round(k)
        drawn = torch.multinomial(boosting.image_weights(distribution), 16, replacement=True, generator=generator)
        hypothesis = train(
            network, images[drawn], labels[drawn], 15, lambda group: torch.optim.SGD(group, 0.05, momentum=0.9)
        )
        assert hypothesis.shape == (16, 10)
        with torch.no_grad():
            loss = boosting.pseudo_loss(distribution, network.hypothesis(images).double(), labels)
        assert loss < 0.5
        beta = boosting.beta(loss)
        network.votes[k] = boosting.vote(beta)
        with torch.no_grad():
            distribution = boosting.reweigh(distribution, network.hypothesis(images).double(), labels, beta)
    with torch.no_grad():
        accuracy = (network(images).argmax(1) == labels).double().mean().item()
    assert accuracy > 0.5
