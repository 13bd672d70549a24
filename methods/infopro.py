"""InfoPro: local modules keep the information about the image that the label does not need yet.

Each module but the last has a decoder that reconstructs the de-normalised image and a head with cross-entropy (softmax)
or a projection head with the supervised contrastive loss (contrast); both read the module's output. Its loss is
lambda1 * reconstruction + lambda2 * local loss, with weights linear in the module index.

Source: Wang et al., InfoPro, ICLR 2021, sections 3 and 4; released code for CIFAR, SVHN and STL-10.
Departures: a network whose weight is exactly 0 is neither built nor run (the released code runs it:
`zero_weight=run`). The contrastive loss averages over anchors and normalises embeddings, as released;
`reduction=pair` is the printed formula. No weights were published for softmax on CIFAR, SVHN or STL-10: those of
contrast are used.
"""

from dataclasses import replace

from methods.api import HEAD, LOSS, REDUCTION, STEP, WIDEN, Method, Option, Weights

_NUMBER = r"\d+(\.\d+)?"


def read_weights(text: str) -> Weights:
    """`5/0.5/0.5/1`: lambda1/lambda2 of the first module, then of the last local one; two numbers serve for both."""
    numbers = [float(number) for number in text.split("/")]
    return Weights(first=(numbers[0], numbers[1]), last=(numbers[-2], numbers[-1]))


WEIGHTS = Option(
    name="weights",
    sets="weights",
    default="published",
    pattern=rf"published|{_NUMBER}/{_NUMBER}(/{_NUMBER}/{_NUMBER})?",
    read=lambda text: None if text == "published" else read_weights(text),
    hint="published or l1/l2 or l1/l2/l1/l2",
    help="lambda1/lambda2 of the first and of the last local module",
)
ZERO_WEIGHT = Option(
    name="zero_weight",
    sets="run_zero_weight",
    default="skip",
    choices={"skip": False, "run": True},
    help="whether networks whose weight is exactly 0 are run, as the released code does",
)

INFOPRO = Method(
    name="infopro",
    summary="InfoPro: reconstruction of the image and a local loss on every module's output",
    source="Wang et al., InfoPro (ICLR 2021)",
    begins={"decoder": True},
    options=(replace(LOSS, variant=True), HEAD, WIDEN, REDUCTION, WEIGHTS, ZERO_WEIGHT, STEP),
)
DECODER = Method(
    name="decoder",
    summary="InfoPro's decoder and loss weights, added to another local method",
    source="Wang et al., InfoPro (ICLR 2021)",
    sets={"decoder": True},
    options=(WEIGHTS, ZERO_WEIGHT),
    needs_local_loss=True,
    begins=None,
    follows=True,
)
