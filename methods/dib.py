"""Deep Incremental Boosting (DIB): an ensemble of networks that grow by one module per round.

Round 0 trains the first module with a classifier. Every later round copies the network, puts the next module before a
new classifier, and trains all of it on images drawn by AdaBoost.M2's weights. At inference all networks vote. The
arithmetic is in `methods/boosting.py`.

Source: Mosca and Magoulas, Deep Incremental Boosting (GCAI 2016); votes and weights: Freund and Schapire 1997,
AdaBoost.M2.
Departures: a round adds a local module of the chain, so that the last network is the whole backbone. Its classifiers
are Greedy SL's. Steps of all rounds count alike; the paper trains later rounds for fewer epochs, how many fewer is the
user's to say. Finished networks stay on the device.
"""

from methods.api import Method, Sequential

DIB = Method(
    name="dib",
    summary="Deep Incremental Boosting: networks that grow by a module per round, all of which vote",
    source="Mosca and Magoulas, Deep Incremental Boosting (GCAI 2016)",
    begins={"local_loss": "softmax", "head": "0c1f", "sequential": Sequential(boosts=True, ensemble=True)},
)
