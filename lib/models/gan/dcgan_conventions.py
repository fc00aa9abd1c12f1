"""What networks in the manner of DCGAN share: channels that double as the image halves, and normal first weights."""

from collections.abc import Sequence

from torch import nn


def channels_by_level(image_size: int, width: int, *, sizes: Sequence[int]) -> list[int]:
    """`width` channels at image_size/2, twice as many at each half of that, to 4 px. ValueError for another size."""
    if image_size not in sizes:
        raise ValueError(f"The image size {image_size} is not one of {', '.join(map(str, sizes))}.")
    return [width * 2**level for level in range(image_size.bit_length() - 3)]


def initialise(module: nn.Module) -> None:
    """Draw a convolution's weights from N(0, 0.02) and a batch norm's from N(1, 0.02) (Radford et al. 2016)."""
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.normal_(module.weight, 0.0, 0.02)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)
        nn.init.zeros_(module.bias)
