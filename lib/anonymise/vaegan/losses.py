"""The losses of an anonymisation: realism, privacy, evidence, and the opposite finding of a counterfactual.

Montenegro et al. 2021, spec §5.1, x being an original (n, 1, s, s), x̂ the image drawn from it, M its mask in {0, 1},
p(·) a classifier's posterior. All losses are means, over images, pairs or pixels, unless stated otherwise; a weight w
of the released code, which sums squared pixels over the batch, is w · images · pixels of a mask here: the published
0.002 is 115 with batches of 64 and masks of 901 pixels (spec §7, D14).
"""

import torch
from torch import Tensor


def kl_to_standard_normal(mean: Tensor, log_variance: Tensor) -> Tensor:
    """½ Σ_j (exp s_j + μ_j² − 1 − s_j), the mean over images; μ, s (n, latent). 0 only where μ and s are 0; nats."""
    return (log_variance.exp() + mean.square() - 1 - log_variance).sum(dim=1).mean() / 2


def soft_cross_entropy(targets: Tensor, logits: Tensor) -> Tensor:
    """−Σ_k t_k log p_k of target probabilities t and logits, (n, k) both, the mean over images; nats."""
    return -(targets * logits.log_softmax(dim=1)).sum(dim=1).mean()


def uniform_targets(count: int, identities: int, *, draw: Tensor | None = None) -> Tensor:
    """Posteriors (count, identities) that name nobody; every row adds up to 1.

    draw: uniform numbers (count, identities) in [0, 1) for the published noise, u + (1 − Σ u) / P with u from 1/(2P) to
    2/P; entries below 0, possible below about 20 people, become 0 and the row is scaled again. None: exactly 1/P.
    """
    if draw is None:
        return torch.full((count, identities), 1 / identities)
    targets = draw * (1.5 / identities) + 0.5 / identities
    targets = (targets + (1 - targets.sum(dim=1, keepdim=True)) / identities).clamp_min(0)
    return targets / targets.sum(dim=1, keepdim=True)


def margin_loss(distances: Tensor, *, margin: float = 1.0) -> Tensor:
    """max(margin − d, 0)² of any number of distances d, their mean."""
    return (margin - distances).clamp_min(0).square().mean()


def masked_mse(original: Tensor, drawn: Tensor, masks: Tensor, *, summed: bool = False) -> Tensor:
    """(M x − M x̂)², the mean over pixels of the masks, in squares of grey units; 0 where no mask has a pixel.

    summed: the sum over the batch, as in the released code. There the masks of the validation and test images stayed
    0 to 255, which multiplies the error by 255² = 65,025 (spec §7, D1).
    """
    total = (masks * (original - drawn)).square().sum()
    return total if summed else total / masks.count_nonzero().clamp_min(1)


def background_mse(first: Tensor, second: Tensor, masks: Tensor, *, summed: bool = False) -> Tensor:
    """`masked_mse` outside the masks, where a counterfactual may not change anything."""
    return masked_mse(first, second, 1 - masks, summed=summed)


def opposite_finding(posterior: Tensor) -> Tensor:
    """1 − round(p) of the posteriors (n, 2) of two findings: certain of the one that is less likely (spec §5.1).

    ValueError for another number of findings.
    """
    if posterior.ndim != 2 or posterior.shape[1] != 2:
        raise ValueError(f"The posterior has shape {tuple(posterior.shape)}: a finding has an opposite among two only.")
    return 1 - posterior.round()


def critic_loss(*, real: Tensor, drawn: Tensor, norms: Tensor, penalty: float = 10.0) -> Tensor:
    """mean D(x̂) − mean D(x) + penalty · mean (1 − ‖∇D‖)², of scores (n,) and norms of gradients (n,)."""
    return drawn.mean() - real.mean() + penalty * (1 - norms).square().mean()
