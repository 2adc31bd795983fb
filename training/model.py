"""The default world model: a small convolutional encoder and a residual MLP that predicts latents under actions.

Pixels come in as uint8 and actions in SI units; scaling lies inside the modules, so it ends up in the ONNX graphs.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True)
class ModelConfig:
    """Sizes. `action_low` and `action_high` (SI units) also fix how the predictor scales actions to [−1, 1]."""

    image: int = 64
    latent: int = 128
    context: int = 3
    channels: tuple[int, ...] = (48, 96, 160)
    hidden: int = 256
    width: int = 256
    blocks: int = 3
    action_low: tuple[float, ...] = (-0.4, -0.3, -0.9)
    action_high: tuple[float, ...] = (0.6, 0.3, 0.9)

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for a checkpoint."""
        return asdict(self)


class ChannelNorm(nn.Module):
    """Layer normalisation over the channels of `[B, C, H, W]`, at each place by itself."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class ResidualConv(nn.Module):
    """Two 3 × 3 convolutions behind a normalisation, added to the input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = ChannelNorm(channels)
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(functional.relu(self.first(self.norm(x))))


class Encoder(nn.Module):
    """Image uint8 `[N, H, W, 3]` → latent `[N, D]`.

    4 × 4 patches of RGB and two coordinate channels, then stages of residual convolutions at half the size each.
    """

    coordinates: Tensor

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        line = torch.linspace(-1.0, 1.0, config.image)
        rows, columns = torch.meshgrid(line, line, indexing="ij")
        self.register_buffer("coordinates", torch.stack([rows, columns])[None], persistent=False)
        widths = config.channels
        stages: list[nn.Module] = [nn.Conv2d(5, widths[0], 4, stride=4), ResidualConv(widths[0])]
        for before, after in pairwise(widths):
            stages += [nn.Conv2d(before, after, 3, stride=2, padding=1), nn.ReLU(), ResidualConv(after)]
        self.stages = nn.Sequential(*stages)
        side = config.image // 4 // 2 ** (len(widths) - 1)
        self.head = nn.Sequential(
            nn.Linear(widths[-1] * side * side, config.hidden), nn.ReLU(), nn.Linear(config.hidden, config.latent)
        )

    def forward(self, image: Tensor) -> Tensor:
        pixels = image.permute(0, 3, 1, 2).to(torch.float32) / 127.5 - 1.0
        place = self.coordinates.expand(pixels.shape[0], -1, -1, -1)
        features = self.stages(torch.cat([pixels, place], 1).contiguous(memory_format=torch.channels_last))
        return self.head(features.flatten(1))


class ModulatedBlock(nn.Module):
    """Residual MLP whose normalised input is scaled, shifted and gated by the actions (AdaLN-zero; DiT, 3.2)."""

    def __init__(self, width: int, condition: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.modulation = nn.Linear(condition, 3 * width)
        self.up = nn.Linear(width, 2 * width)
        self.down = nn.Linear(2 * width, width)
        nn.init.zeros_(self.modulation.weight)
        nn.init.zeros_(self.modulation.bias)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        scale, shift, gate = self.modulation(condition).chunk(3, -1)
        hidden = self.norm(x) * (1 + scale) + shift
        return x + (1 + gate) * self.down(functional.silu(self.up(hidden)))


class Predictor(nn.Module):
    """Latents `[B, T, D]` and actions `[B, T, A]` (SI units) → the latent after the last action, `[B, D]`."""

    centre: Tensor
    half_range: Tensor

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        low, high = torch.tensor(config.action_low), torch.tensor(config.action_high)
        self.register_buffer("centre", (low + high) / 2, persistent=False)
        self.register_buffer("half_range", (high - low) / 2, persistent=False)
        condition = config.width // 2
        self.action = nn.Sequential(
            nn.Linear(config.context * len(low), condition), nn.SiLU(), nn.Linear(condition, condition)
        )
        self.enter = nn.Linear(config.context * config.latent, config.width)
        self.blocks = nn.ModuleList(ModulatedBlock(config.width, condition) for _ in range(config.blocks))
        self.norm = nn.LayerNorm(config.width)
        self.leave = nn.Linear(config.width, config.latent)
        # An untrained predictor says that nothing changes.
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)

    def forward(self, latent: Tensor, action: Tensor) -> Tensor:
        condition = functional.silu(self.action(((action - self.centre) / self.half_range).flatten(1)))
        hidden = self.enter(latent.flatten(1))
        for block in self.blocks:
            hidden = block(hidden, condition)
        return latent[:, -1] + self.leave(self.norm(hidden))


class WorldModel(nn.Module):
    """Encoder and predictor together."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.predictor = Predictor(config)

    @torch.no_grad()
    def spread_latents(self, images: Tensor) -> None:
        """Before training: scale the encoder so that latents of images `[N, H, W, 3]` have mean 0 and deviation 1.

        An untrained encoder gives nearly the same latent for every image. There SIGReg is flat and prediction already
        perfect, and training stays collapsed; from spread latents it does not go there.
        """
        last = cast("nn.Linear", self.encoder.head[-1])
        latents = self.encoder(images)
        mean, std = latents.mean(0), latents.std(0)
        last.weight.div_(std[:, None])
        last.bias.sub_(mean).div_(std)

    def rollout(self, latents: Tensor, actions: Tensor) -> Tensor:
        """Predict with predictions fed back.

        Args:
            latents: `[B, T, D]`, T the context.
            actions: `[B, T − 1 + H, A]`; the first T − 1 led from one latent of the context to the next.

        Returns:
            `[B, H, D]`.
        """
        context = latents.shape[1]
        window = list(latents.unbind(1))
        for step in range(actions.shape[1] - context + 1):
            window.append(self.predictor(torch.stack(window[-context:], 1), actions[:, step : step + context]))
        return torch.stack(window[context:], 1)
