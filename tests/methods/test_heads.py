"""Heads and decoders: published parameters and multiply-adds, the shapes of their outputs, what there is not."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from bench.probes.flops import FlopCounter
from bench.workloads.networks import NETWORKS, get_network
from methods.api import Parts
from methods.auxiliary import Auxiliary, LocalLoss, Reconstruction
from methods.datasets import DATASETS
from methods.decoders import make_decoder
from methods.engine import TrainingNetwork
from methods.heads import dgl_head, imagenet_head, local_head, make_head
from methods.registry import read_spec
from methods.spec import SpecError
from partition import parse_split

IMAGENET, CITYSCAPES = (3, 224, 224), (3, 512, 1024)
INFOPRO = read_spec("infopro[softmax]").parts


@pytest.fixture(autouse=True)
def without_data():
    with torch.device("meta"):
        yield


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


def macs_per_image(module, *inputs):
    with torch.no_grad(), FlopCounter() as counter:
        module(*inputs)
    return counter.total / 2 / len(inputs[0])


def on(name):
    return get_network(name).build(
        get_network(name).dataset, get_network(name).image_size_on(get_network(name).dataset)
    )


def head_of(dataset, shape, outputs, config="1c2f", image_shape=None, widen=1.0):
    image_shape = image_shape or {"imagenet": IMAGENET, "cityscapes": CITYSCAPES}.get(dataset, (3, 32, 32))
    return make_head(shape, outputs, config, dataset=DATASETS[dataset], image_shape=image_shape, widen=widen)


DGL_HEADS = {"mlp-sr": (14_378, 54_858, 214_154), "auglocal": (9_962, 37_834, 147_338)}


@pytest.mark.parametrize(("config", "expected"), DGL_HEADS.items())
def test_dgls_heads_have_the_released_parameters(config, expected):
    shapes = ((16, 32, 32), (32, 16, 16), (64, 8, 8))
    assert tuple(count(dgl_head(shape, 10, config)) for shape in shapes) == expected
    convolutions = 3 * (16 * 16 + 2 * 16)
    assert count(dgl_head(shapes[0], 10, "mlp")) == DGL_HEADS["mlp-sr"][0] - convolutions
    assert count(dgl_head(shapes[0], 10, "cnn")) == 2 * (9 * 16 * 16 + 2 * 16) + 2 * 16 + 64 * 10 + 10


@pytest.mark.parametrize("config", ["mlp-sr", "mlp", "cnn", "auglocal"])
@pytest.mark.parametrize("size", [(32, 32), (9, 14), (2, 2), (1, 1)])
def test_dgls_heads_take_features_of_any_size(config, size):
    assert dgl_head((8, *size), 10, config)(torch.empty(2, 8, *size)).shape == (2, 10)


def test_imagenets_head_and_decoder_are_the_published_ones():
    shape = (512, 28, 28)
    head, decoder = head_of("imagenet", shape, 1000), make_decoder(
        shape, dataset=DATASETS["imagenet"], image_shape=IMAGENET
    )  # fmt: skip
    assert (count(head), count(decoder)) == (4_643_560, 106_699)
    features = torch.empty(2, *shape)
    assert macs_per_image(head, features) / 1e6 == pytest.approx(220, abs=0.5)
    assert macs_per_image(decoder, features) / 1e6 == pytest.approx(227, abs=0.5)
    widths = [layer.out_channels for layer in head if isinstance(layer, nn.Conv2d)]
    assert widths == [128, 256, 512, 2048]


@pytest.mark.parametrize(
    ("shape", "widths"),
    [((64, 56, 56), [128, 256, 512, 512, 2048]), ((1024, 14, 14), [128, 256, 2048]), ((2048, 7, 7), [128, 2048])],
)
def test_imagenets_head_halves_until_a_thirty_second_of_the_image(shape, widths):
    head = imagenet_head(shape, 1000, IMAGENET)
    assert [layer.out_channels for layer in head if isinstance(layer, nn.Conv2d)] == widths
    assert head[:-3](torch.empty(2, *shape)).shape == (2, 2048, 7, 7)


def test_imagenets_decoder_doubles_up_to_the_image():
    decoder = make_decoder((2048, 7, 7), dataset=DATASETS["imagenet"], image_shape=IMAGENET)
    widths = [layer.out_channels for layer in decoder if isinstance(layer, nn.Conv2d)]
    assert widths == [128, 128, 64, 32, 12, 3]


def test_cityscapes_head_and_decoder_are_the_published_ones():
    shape = (1024, 64, 128)
    head, decoder = head_of("cityscapes", shape, 19), make_decoder(
        shape, dataset=DATASETS["cityscapes"], image_shape=CITYSCAPES
    )  # fmt: skip
    assert (count(head), count(decoder)) == (4_729_875, 172_235)
    features = torch.empty(2, *shape)
    assert head(features).shape == (2, 19, 512, 1024)
    assert (macs_per_image(head, features) + macs_per_image(decoder, features)) / 1e9 == pytest.approx(41.6, abs=0.05)


# Network, boundary, weights -> percent of the backbone's multiply-adds, as InfoPro's Tables 3 and 4 print them.
OVERHEADS = {
    ("resnet110", "1.9", "contrast"): 1.30,
    ("resnet110", "1.9,2.9", "contrast"): 3.31,
    ("resnet101", "2.3", "softmax"): 5.73,
    ("resnet152", "2.3", "softmax"): 3.88,
    ("resnext101_32x8d", "2.3", "softmax"): 2.72,
    ("deeplabv3_resnet101", "3.11", "softmax"): 6.0,
}


@pytest.mark.parametrize(("network", "boundaries", "loss"), OVERHEADS)
def test_auxiliary_networks_cost_the_published_share_of_the_backbone(network, boundaries, loss):
    chain = on(network)
    images = torch.empty(2, *chain.image_shape)
    labels = torch.empty(2, *(chain.image_shape[1:] if chain.dataset.label_per_pixel else ()), dtype=torch.int64)
    added = 0
    for unit in parse_split(boundaries, chain.unit_names).last_units[:-1]:
        shape = chain.unit_shapes[unit]
        auxiliary = Auxiliary(chain, shape, replace(INFOPRO, local_loss=loss), (1.0, 1.0))
        for term in auxiliary.terms.values():
            module = term.decoder if isinstance(term, Reconstruction) else term.head
            added += macs_per_image(module, torch.empty(2, *shape))
        assert auxiliary(torch.empty(2, *shape), images, labels).shape == ()
    share = 100 * added / macs_per_image(chain, images)
    assert share == pytest.approx(
        OVERHEADS[network, boundaries, loss], abs=0.005 if network != "deeplabv3_resnet101" else 0.01
    )


@pytest.mark.parametrize("name", [*NETWORKS, "resnet50@97", "resnet34@64x160", "densenet_bc_100_12@20x44"])
def test_behind_every_unit_heads_give_classes_and_decoders_give_images(name):
    chain = on(name)
    for shape in dict.fromkeys(chain.unit_shapes):
        features = torch.empty(2, *shape)
        auxiliary = Auxiliary(chain, shape, INFOPRO, (1.0, 1.0))
        classes = chain.dataset.class_count
        expected = (2, classes, *chain.image_shape[1:]) if chain.dataset.label_per_pixel else (2, classes)
        assert auxiliary.terms["local_loss"].head(features).shape == expected
        assert auxiliary.terms["decoder"].decoder(features).shape == (2, *chain.image_shape)


@pytest.mark.parametrize(
    ("unit", "stride", "width"),
    [("stem", 2, 32), ("layer1.10", 2, 32), ("t1", 2, 64), ("layer2.6", 2, 64), ("layer3.2", 1, 64)],
)
def test_the_head_of_other_networks_follows_the_size_of_the_features(unit, stride, width):
    chain = on("densenet_bc_100_12")
    shape = chain.unit_shapes[chain.unit_names.index(unit)]
    first = local_head(shape, 10, "1c2f")[0]
    assert (first.in_channels, first.out_channels, first.stride) == (shape[0], width, (stride, stride))


def test_widen_multiplies_hidden_widths_and_truncates():
    def widths(network):
        return [m.weight.shape[0] for m in network.modules() if isinstance(m, (nn.Conv2d, nn.Linear))]

    assert widths(head_of("cifar10", (16, 32, 32), 10, "2c2f", widen=1.3)) == [41, 41, 166, 10]
    assert widths(head_of("imagenet", (512, 28, 28), 1000, widen=0.5)) == [64, 128, 256, 1024, 1000]
    assert widths(head_of("cityscapes", (1024, 64, 128), 19, widen=2)) == [1024, 19]
    small = make_decoder((32, 16, 16), dataset=DATASETS["cifar10"], image_shape=(3, 32, 32), widen=1.3)
    large = make_decoder((512, 28, 28), dataset=DATASETS["imagenet"], image_shape=IMAGENET, widen=1.3)
    assert (widths(small), widths(large)) == ([15, 3], [166, 41, 15, 3])
    assert widths(head_of("cifar10", (16, 32, 32), 10, widen=0.001)) == [1, 1, 10]


def test_the_spec_reaches_the_widths():
    chain = on("resnet32")
    split = parse_split("8,8", chain.unit_names)
    plain, wide = (TrainingNetwork(chain, split, read_spec(f"infopro[contrast{w}]").parts) for w in ("", ",widen=2"))
    assert count(wide.auxiliaries["0"].terms["decoder"]) > count(plain.auxiliaries["0"].terms["decoder"])
    # The embedding keeps its size, whatever the hidden layers have.
    assert wide.auxiliaries["0"].terms["local_loss"].head[-1].weight.shape == (128, 256)


@pytest.mark.parametrize(
    ("dataset", "shape", "config", "widen", "message"),
    [
        ("imagenet", (512, 28, 28), "1c3f", 1, "head 1c3f is of small images; ImageNet has 0c1f, 0c2f, 1c2f and DGL's"),
        (
            "cityscapes",
            (1024, 64, 128),
            "mlp-sr",
            1,
            "head mlp-sr gives one label per image; segmentation has 0c1f and",
        ),
        ("cifar10", (16, 32, 32), "mlp", 2, r"head mlp has the module's own width: it cannot be widened \(widen: 2\)"),
    ],
)
def test_a_head_that_a_dataset_has_not_says_which_there_are(dataset, shape, config, widen, message):
    with pytest.raises(SpecError, match=message):
        head_of(dataset, shape, 10, config, widen=widen)


def test_segmentation_has_no_contrastive_loss():
    with pytest.raises(SpecError, match="needs one label per image, Cityscapes has one per pixel: use softmax"):
        LocalLoss(on("deeplabv3_resnet101"), (1024, 64, 128), Parts(local_loss="contrast"))


def test_a_local_module_of_segmentation_ignores_pixels_without_label():
    with torch.device("cpu"):
        torch.manual_seed(0)
        chain = get_network("deeplabv3_resnet101").build(DATASETS["cityscapes"], (32, 64))
        loss = LocalLoss(chain, (1024, 4, 8), Parts(local_loss="softmax", head="0c1f"))
        features, images = torch.randn(2, 1024, 4, 8), torch.randn(2, 3, 32, 64)
        labels = torch.randint(19, (2, 32, 64))
        labels[:, :5] = 255
        expected = nn.functional.cross_entropy(loss.head(features)[:, :, 5:], labels[:, 5:])
        assert loss(features, images, labels).item() == pytest.approx(expected.item(), rel=1e-6)


@pytest.mark.parametrize("spec", ["contsup[R1E]", "contsup[R2]"])
def test_context_of_images_that_are_not_square_has_the_size_of_the_features(spec):
    chain = on("deeplabv3_resnet101@64x160")
    network = TrainingNetwork(chain, parse_split("1.0,2.0,3.5", chain.unit_names), read_spec(spec).parts).train()
    assert network(torch.empty(2, 3, 64, 160)).shape == (2, 19, 64, 160)
