"""Images to anonymise: grey ones, with masks of the region where their evidence lies."""

import numpy as np
from torch import Tensor

from lib.training.loop.dataset import DeviceDataset, grey_images


class Masks(DeviceDataset):
    """Masks kept as uint8 0 and 1; the network sees float32 0 and 1."""

    def inputs(self, rows: Tensor | slice, flips: Tensor | None = None) -> Tensor:
        """(n, 1, h, w) float32 of `rows`."""
        return self.values[rows].float()


def checked_cases(images, masks, identities, *, device, name: str = "training") -> tuple[DeviceDataset, Masks]:
    """Grey images and their masks of 0 and 1 on `device`, or ValueError."""
    examples = grey_images(images, identities, device=device, name=name)
    masks = np.asarray(masks)
    if masks.shape != tuple(examples.values[:, 0].shape):
        raise ValueError(
            f"The {name} masks have shape {masks.shape} for {len(examples)} images of "
            f"{tuple(examples.values.shape[2:])}: give the masks of these images."
        )
    if not np.isin(masks, (0, 1)).all():
        raise ValueError(f"The {name} masks reach {masks.max()}: give 0 outside and 1 inside (divide 0..255 by 255).")
    return examples, Masks(masks.astype(np.uint8), None, device=device, name=f"{name} masks")
