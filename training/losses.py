"""What keeps latents from collapsing without negatives, and the prediction error."""

from __future__ import annotations

import torch
from torch import Tensor


def sigreg(
    latents: Tensor, slices: int = 256, knots: int = 9, reach: float = 4.0, generator: torch.Generator | None = None
) -> Tensor:
    """Distance of latents `[N, D]` from an isotropic standard Gaussian, along random directions.

    Sketched isotropic Gaussian regularisation (LeJEPA, Balestriero and LeCun 2025, section 4): for each direction the
    squared difference between the empirical characteristic function and exp(−t²/2), integrated over t in [0, reach]
    under that same Gaussian weight. Not multiplied by N, so the weight it is given does not depend on the batch size.

    Args:
        slices: directions drawn; knots: points t at which the functions are compared, evenly up to `reach`.
        generator: a CPU generator, None for PyTorch's own. Directions are drawn on the CPU wherever the latents are:
            that generator's state is what a checkpoint keeps.
    """
    directions = torch.randn(latents.shape[1], slices, generator=generator).to(latents.device)
    projected = latents.float() @ (directions / directions.norm(dim=0))
    t = torch.linspace(reach / knots, reach, knots, device=latents.device)
    gaussian = torch.exp(-t * t / 2)
    angle = projected[..., None] * t
    difference = (angle.cos().mean(0) - gaussian) ** 2 + angle.sin().mean(0) ** 2
    return (difference * gaussian).sum(-1).mean() * (reach / knots)


def vicreg(latents: Tensor, covariance: float = 0.04) -> Tensor:
    """Hinge on each dimension's deviation at 1 plus squared off-diagonal covariance (VICReg, Bardes 2022, 4.1)."""
    latents = latents.float()
    centred = latents - latents.mean(0)
    spread = torch.relu(1 - torch.sqrt(centred.var(0) + 1e-4)).mean()
    cov = centred.T @ centred / (len(latents) - 1)
    off_diagonal = cov - torch.diag(torch.diag(cov))
    return spread + covariance * (off_diagonal**2).sum() / latents.shape[1]


def prediction_error(predicted: Tensor, seen: Tensor) -> Tensor:
    """Mean squared error over everything."""
    return ((predicted.float() - seen.float()) ** 2).mean()
