"""The backbones against the published counts, against torchvision, and against what their modules really give."""

import pytest
import torch
import torchvision
from torch import nn

from bench.probes.flops import FlopCounter
from bench.workloads.adapt import adapt
from bench.workloads.networks import NETWORKS, UnknownNetworkError, get_network
from methods.datasets import DATASETS
from tests.methods.tiny import counting_without_data

UNITS = {
    "resnet32": 16, "resnet110": 55, "resnet32@96": 16, "resnet110@96": 55, "densenet_bc_100_12": 51, "vgg11_bn": 8,
    "resnet34": 17, "resnet50": 17, "resnet101": 34, "resnet152": 51, "resnext101_32x8d": 34, "deeplabv3_resnet101": 34,
}  # fmt: skip
PARAMETERS = {
    "resnet32": 466_906, "resnet110": 1_730_714, "densenet_bc_100_12": 769_162, "vgg11_bn": 9_231_114,
    "resnet34": 21_797_672, "resnet101": 44_549_160, "resnet152": 60_192_808, "resnext101_32x8d": 88_791_336,
}  # fmt: skip
CIFAR100_PARAMETERS = {"resnet32": 472_756, "resnet110": 1_736_564}
GIGA_MACS = {
    "resnet32": 0.069125, "resnet110": 0.253150, "resnet32@96": 0.622118, "resnet110@96": 2.278343,
    "resnet101": 7.801, "resnet152": 11.514, "resnext101_32x8d": 16.414, "deeplabv3_resnet101": 694,
}  # fmt: skip


def build(name, dataset=None, image_size=None, device="meta"):
    network = get_network(name)
    dataset = dataset or network.dataset
    with torch.device(device):
        return network.build(dataset, image_size or network.image_size_on(dataset))


def count(*modules):
    return sum(parameter.numel() for module in modules for parameter in module.parameters())


def macs_of(module, *inputs):
    with torch.no_grad(), counting_without_data() as counter:
        module(*inputs)
    return counter.total / 2


@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_has_the_units_and_parameters_it_lists(name):
    chain, network = build(name), NETWORKS[name]
    assert chain.unit_names == network.unit_names
    assert len(chain.units) == UNITS[name]
    assert count(chain.units, chain.head) == network.parameter_count
    assert network.parameter_count == PARAMETERS.get(name.partition("@")[0], network.parameter_count)
    assert get_network(name) is network


@pytest.mark.parametrize(("name", "expected"), CIFAR100_PARAMETERS.items())
def test_a_hundred_classes_change_the_head_alone(name, expected):
    assert count(build(name)) + 90 * 65 == expected


@pytest.mark.parametrize(("name", "expected"), GIGA_MACS.items())
def test_a_forward_pass_costs_the_published_multiply_adds(name, expected):
    chain = build(name)
    found = macs_of(chain, torch.empty(2, *chain.image_shape, device="meta")) / 2e9
    assert found == pytest.approx(expected, rel=2e-3 if expected > 1 else 1e-5)


@pytest.mark.parametrize("name", ["resnet110", "densenet_bc_100_12", "vgg11_bn", "resnet50", "resnext101_32x8d"])
def test_a_training_step_costs_three_forward_passes_but_for_the_gradient_of_the_image(name):
    chain = build(name).train()
    images = torch.empty(2, *chain.image_shape, device="meta")
    with counting_without_data() as counter:
        chain(images).sum().backward()
    first = next(layer for layer in chain.modules() if isinstance(layer, nn.Conv2d))
    assert counter.total == 2 * (3 * macs_of(chain, images) - macs_of(first, images))


@pytest.mark.parametrize(("groups", "transposed"), [(1, False), (4, False), (1, True), (4, True)])
def test_gradients_of_a_convolution_cost_two_forward_passes(groups, transposed):
    kind = nn.ConvTranspose2d if transposed else nn.Conv2d
    layer = kind(8, 16, 3, stride=2, padding=1, groups=groups, device="meta")
    features = torch.empty(2, 8, 10, 12, device="meta", requires_grad=True)
    with FlopCounter() as counter:
        layer(features).sum().backward()
    assert counter.total == 6 * macs_of(layer, features)


def test_deep_supervision_of_deeplab_costs_the_published_multiply_adds():
    chain = build("deeplabv3_resnet101")
    assert [*chain.extra_losses] == [str(chain.unit_names.index("layer3.22"))]
    features = torch.empty(2, *chain.unit_shapes[chain.unit_names.index("layer3.22")], device="meta")
    labels = torch.empty(2, 512, 1024, dtype=torch.int64, device="meta")
    assert macs_of(next(iter(chain.extra_losses.values())), features, labels) / 2e9 == pytest.approx(19.4, abs=0.05)


@pytest.mark.parametrize(
    "name", [*NETWORKS, "resnet110@20x36", "densenet_bc_100_12@44", "vgg11_bn@65x33", "resnet50@97", "resnet34@33x71",
             "deeplabv3_resnet101@65x129"],
)  # fmt: skip
def test_unit_shapes_are_what_the_units_give(name):
    chain = build(name)
    found = adapt([*chain.units], chain.head, dataset=chain.dataset, image_size=chain.image_shape[1:])
    assert found.unit_shapes == chain.unit_shapes


@pytest.mark.parametrize("name", ["resnet34", "resnet50", "resnext101_32x8d"])
def test_a_torchvision_network_as_a_chain_gives_what_torchvision_gives(name):
    chain = build(name, image_size=64, device="cpu").eval()
    reference = torchvision.models.get_model(name).eval()
    # The stem's members are numbered; blocks keep their order and their own names.
    reference.load_state_dict(dict(zip(reference.state_dict(), chain.state_dict().values(), strict=True)))
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(chain(images), reference(images))


def test_stages_of_deeplab_are_torchvisions_dilated_ones():
    chain = build("deeplabv3_resnet101")
    with torch.device("meta"):
        reference = torchvision.models.segmentation.deeplabv3_resnet101(weights=None, weights_backbone=None).backbone
    blocks = [*reference.layer1, *reference.layer2, *reference.layer3, *reference.layer4]
    assert [repr(unit) for unit in chain.units[1:]] == [repr(block) for block in blocks]
    dilations = {name: chain.units[i].conv2.dilation[0] for i, name in enumerate(chain.unit_names) if i > 0}
    # The first block of a dilated stage has the dilation of the stage before.
    stages = ("layer2.0", "layer3.0", "layer3.1", "layer4.0", "layer4.1")
    assert [dilations[unit] for unit in stages] == [1, 1, 2, 2, 4]
    assert chain.unit_shapes[-1] == (2048, 64, 128)


def test_deeplab_gives_a_class_for_every_pixel_and_ignores_pixels_without_label():
    torch.manual_seed(0)
    chain = build("deeplabv3_resnet101", image_size=(32, 64), device="cpu").train()
    images, labels = torch.randn(2, 3, 32, 64), torch.randint(19, (2, 32, 64))
    logits = chain(images)
    assert logits.shape == (2, 19, 32, 64)
    labels[:, :, 32:] = 255
    expected = nn.functional.cross_entropy(logits[:, :, :, :32], labels[:, :, :32])
    assert chain.loss(logits, labels).item() == pytest.approx(expected.item(), rel=1e-6)


def test_a_densenet_layer_keeps_its_input_and_adds_its_growth():
    chain = build("densenet_bc_100_12", image_size=8, device="cpu")
    features = torch.randn(2, 24, 8, 8)
    output = chain.units[1](features.clone())
    assert output.shape == (2, 36, 8, 8)
    assert torch.equal(output[:, :24], features)
    channels = dict(zip(chain.unit_names, (shape[0] for shape in chain.unit_shapes), strict=True))
    assert [channels[unit] for unit in ("layer1.10", "layer2.6", "layer3.2", "t1", "t2")] == [156, 192, 186, 108, 150]
    assert channels["layer3.15"] == 342


@pytest.mark.parametrize(
    ("name", "expected"),
    [("resnet34@32x64", (32, 64)), ("resnet34@64x64", 64), ("resnet34@96", 96), ("deeplabv3_resnet101", None)],
)
def test_an_image_size_is_a_side_or_height_and_width(name, expected):
    assert get_network(name).image_size == expected


@pytest.mark.parametrize("name", ["resnet34@16", "resnet34@64x", "resnet34@x64", "resnet34@64x16", "vgg11_bn@31"])
def test_an_image_size_that_cannot_be_says_what_can(name):
    with pytest.raises(UnknownNetworkError, match="a whole number of pixels from 32, or a height and a width"):
        get_network(name)


@pytest.mark.parametrize("name", ["resnet32", "densenet_bc_100_12", "vgg11_bn", "deeplabv3_resnet101"])
def test_convolutions_are_drawn_by_their_output_size(name):
    torch.manual_seed(0)
    chain = build(name, device="cpu", image_size=64)
    for layer in chain.modules():
        if isinstance(layer, nn.Conv2d) and layer.weight.numel() > 5000:
            height, width = layer.kernel_size
            expected = (2 / (height * width * layer.out_channels)) ** 0.5
            assert layer.weight.std().item() == pytest.approx(expected, rel=0.06)


def test_a_network_of_one_label_per_image_has_no_extra_losses():
    assert not any(len(build(name).extra_losses) for name in NETWORKS if name != "deeplabv3_resnet101")
    assert DATASETS["cityscapes"].label_per_pixel
