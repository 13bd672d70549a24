"""BoostResNet: modules are trained one after the other, each with a linear classifier, until boosting accepts them.

Round t trains module t behind the frozen ones by the exponential of the mean cross-entropy of its classifier's
hypothesis o_t. The weak classifier of a round is alpha_{t+1} o_{t+1} - alpha_t o_t; their sum telescopes, so that the
deployed network is the plain backbone with its last classifier. The arithmetic is in `methods/boosting.py`.

Source: Huang et al., BoostResNet (ICML 2018), and the authors' script: Adam, learning rate 1e-3, gradient values
clamped to +-0.1, until gamma exceeds -1e-4 or 10,000 steps are done.
Departures: a round trains a local module, not a single block (they are the same where K is the number of units). The
classifier is Greedy SL's, pooled to one value per channel.
"""

from methods.api import Method, Sequential

LEAST_GAMMA = -1e-4
"""A round is over when its gamma is above."""
MOST_STEPS = 10_000
"""And in any case after so many steps."""

BOOSTRESNET = Method(
    name="boostresnet",
    summary="BoostResNet: modules boosted one after the other, each with a linear classifier",
    source="Huang et al., BoostResNet (ICML 2018); authors' script",
    begins={
        "local_loss": "softmax",
        "head": "0c1f",
        "optimizer": "adam",
        "clamp": 0.1,
        "sequential": Sequential(boosts=True, exponential=True),
    },
)
