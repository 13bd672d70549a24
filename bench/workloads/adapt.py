"""Any network as a chain: its own modules, in order, with the shapes of their outputs found without computing.

    network = torchvision.models.vgg16(num_classes=10)
    chain = adapt(
        [*network.features],
        nn.Sequential(network.avgpool, nn.Flatten(), network.classifier),
        dataset=get_dataset("cifar10"),
        image_size=64,
    )
    TrainingNetwork(chain, equal_split(len(chain.units), 4), read_spec("infopro[softmax]").parts)

The modules are used as they are, not copied: the chain trains the network's own weights.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor, nn
from torch.func import functional_call

from methods.chain import Chain, Loss, Shape
from methods.datasets import Dataset, ImageSize, height_and_width


class AdaptError(ValueError):
    """Modules that are no chain: one cannot take what the one before it gives, or the head gives no logits."""


def adapt(
    units: Sequence[nn.Module],
    head: nn.Module,
    *,
    dataset: Dataset,
    image_size: ImageSize | None = None,
    name: str = "custom",
    unit_names: Sequence[str] | None = None,
    loss: Loss | None = None,
    extra_losses: Mapping[int, nn.Module] | None = None,
) -> Chain:
    """A chain of a network's own modules.

    Args:
        units: modules from one feature map to the next, the first from images; an `nn.Sequential` is one such list.
        head: module from the last unit's output to logits, with any pooling and flattening in front.
        dataset: classes and normalisation; an entry of `methods.datasets.DATASETS` or one of your own.
        image_size: pixels; None for the dataset's.
        name: network name; decides which published loss weights are used.
        unit_names: a name per unit; None numbers them.
        loss: of logits and labels; None for cross-entropy.
        extra_losses: see `Chain`.

    Returns:
        A chain whose output is head(units[-1](... units[0](images))).

    Raises:
        AdaptError: a module does not fit the one before it, gives no feature map, or the head gives no logits of the
            dataset's classes; says which.
    """
    units = list(units)
    names = [str(index) for index in range(len(units))] if unit_names is None else list(unit_names)
    if not len(units) == len(names) > 0:
        raise AdaptError(f"a chain needs units, and a name for each of them (units: {len(units)}, names: {len(names)})")
    size = image_size or dataset.image_size
    *shapes, logits = _find_shapes([*units, head], [*names, "head"], (3, *height_and_width(size)))
    unit_shapes: list[Shape] = []
    for unit_name, shape in zip(names, shapes, strict=True):
        if len(shape) != 3:  # noqa: PLR2004 - channels, height, width
            raise AdaptError(f"unit '{unit_name}' gives {shape} per image, not (channels, height, width)")
        unit_shapes.append(shape)
    expected = (dataset.class_count, *(height_and_width(size) if dataset.label_per_pixel else ()))
    if logits != expected:
        raise AdaptError(f"the head gives {logits} per image; {dataset.title} needs {expected}")
    return Chain(
        name=name,
        dataset=dataset,
        image_size=size,
        units=units,
        unit_names=names,
        unit_shapes=unit_shapes,
        head=head,
        loss=loss,
        extra_losses=extra_losses,
    )


def _find_shapes(modules: Sequence[nn.Module], names: Sequence[str], image_shape: Shape) -> list[tuple[int, ...]]:
    """Output shape of every module for one image, applied one after the other without data."""

    def run() -> list[tuple[int, ...]]:
        features, shapes = torch.empty(2, *image_shape, device="meta"), []
        for module, name in zip(modules, names, strict=True):
            tensors = {**dict(module.named_parameters()), **dict(module.named_buffers())}
            try:
                with torch.no_grad():
                    output = functional_call(module, {key: t.to("meta") for key, t in tensors.items()}, (features,))
            except (RuntimeError, ValueError) as error:
                raise AdaptError(f"'{name}' cannot take {(*features.shape[1:],)} per image: {error}") from error
            if not isinstance(output, Tensor):
                raise AdaptError(f"'{name}' gives {type(output).__name__}, not a tensor")
            features = output
            shapes.append((*features.shape[1:],))
        return shapes

    # In a thread of its own, because a simulation that is under way sees every tensor its own thread makes.
    with ThreadPoolExecutor(max_workers=1) as thread:
        return thread.submit(run).result()
