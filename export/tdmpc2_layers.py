"""The layers of TD-MPC2 (Hansen et al., arXiv 2310.16828, §3.1), under the names that its checkpoints give them, and
the graphs of a bundle that are made of them.

Dropout, which only training has, and the random shift of the images are left out: neither has weights.
"""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn
from torch.nn.functional import layer_norm, mish

from jepa_ros_export.layers import Pixels, Standardise

IMAGE_SIZE = 64
FEATURE_CELLS = 16
"""Of the last feature map, 4 × 4: a latent has 16 elements a channel."""


class SimNorm(nn.Module):
    """Simplicial normalisation: `[..., D]` → `[..., D]`, a softmax within each group of `group` neighbours."""

    def __init__(self, group: int) -> None:
        super().__init__()
        self.group = group

    def forward(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (-1, self.group)).softmax(-1).flatten(-2)


class NormedLinear(nn.Linear):
    """act(LayerNorm(W x + b)); `act` is Mish where none is given."""

    def __init__(self, inputs: int, outputs: int, act: nn.Module | None = None) -> None:
        super().__init__(inputs, outputs)
        self.ln = nn.LayerNorm(outputs)
        self.act = act or nn.Mish()

    def forward(self, x: Tensor) -> Tensor:
        activated: Tensor = self.act(self.ln(super().forward(x)))
        return activated


def mlp(inputs: int, hidden: int, outputs: int, act: nn.Module | None = None) -> nn.Sequential:
    """Two hidden layers; the last one is normed where it has an activation, and plainly linear where it has none."""
    last = nn.Linear(hidden, outputs) if act is None else NormedLinear(hidden, outputs, act)
    return nn.Sequential(NormedLinear(inputs, hidden), NormedLinear(hidden, hidden), last)


class StackedLinear(nn.Module):
    """One layer of every member of an ensemble: `[B, in]` or `[Q, B, in]` → `[Q, B, out]`.

    The original maps one network over stacked weights, which does not export; a batched product is the same.
    `normed`: whether LayerNorm, with weights of its own for each member, and Mish follow.
    """

    def __init__(self, members: int, inputs: int, outputs: int, normed: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(members, outputs, inputs))
        self.bias = nn.Parameter(torch.empty(members, outputs))
        if normed:
            self.ln = nn.Module()
            self.ln.weight = nn.Parameter(torch.empty(members, outputs))
            self.ln.bias = nn.Parameter(torch.empty(members, outputs))
        self.normed = normed

    def forward(self, x: Tensor) -> Tensor:
        x = x @ self.weight.transpose(-1, -2) + self.bias.unsqueeze(1)
        if not self.normed:
            return x
        x = layer_norm(x, x.shape[-1:]) * self.ln.weight.unsqueeze(1) + self.ln.bias.unsqueeze(1)
        return mish(x)


def stacked_mlp(members: int, inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    """`members` times `mlp` without an activation at its end."""
    return nn.Sequential(
        StackedLinear(members, inputs, hidden, normed=True),
        StackedLinear(members, hidden, hidden, normed=True),
        StackedLinear(members, hidden, outputs, normed=False),
    )


def convolutions(inputs: int, channels: int, act: nn.Module) -> nn.Sequential:
    """Images `[N, inputs, 64, 64]` → `act` of `[N, 16 · channels]`, their feature maps flattened channel by channel.

    The numbers are the original's, whose layers 0 and 1 shift and scale the image.
    """
    return nn.Sequential(
        OrderedDict(
            [
                ("2", nn.Conv2d(inputs, channels, 7, stride=2)),
                ("3", nn.ReLU()),
                ("4", nn.Conv2d(channels, channels, 5, stride=2)),
                ("5", nn.ReLU()),
                ("6", nn.Conv2d(channels, channels, 3, stride=2)),
                ("7", nn.ReLU()),
                ("8", nn.Conv2d(channels, channels, 3)),
                ("9", nn.Flatten()),
                ("10", act),
            ]
        )
    )


class TwoHot(nn.Module):
    """Logits `[..., K]` → the number `[..., 1]` that they stand for: symexp of the mean of K bins under their softmax.

    The bins lie evenly from `low` to `high` on the symlog scale (DreamerV3, arXiv 2301.04104); symexp(x) is
    sign(x) (exp|x| − 1).
    """

    def __init__(self, bins: int, low: float, high: float) -> None:
        super().__init__()
        self.register_buffer("bins", torch.linspace(low, high, bins), persistent=False)
        self.bins: Tensor

    def forward(self, logits: Tensor) -> Tensor:
        x = (logits.softmax(-1) * self.bins).sum(-1, keepdim=True)
        return x.sign() * (x.abs().exp() - 1.0)


class Encoder(nn.Module):
    """uint8 `[N, S, 64, 64, 3]` (no S where it is 1), oldest first → latent `[N, D]`.

    The original shifts images at random by up to 3 pixels, in evaluation too; here they stay where they are, which is
    the middle of its shifts.
    """

    def __init__(self, net: nn.Module, frames: int) -> None:
        super().__init__()
        self.pixels = Pixels(mean=(0.5, 0.5, 0.5), std=(1.0, 1.0, 1.0))
        self.net, self.channels = net, 3 * frames

    def forward(self, image: Tensor) -> Tensor:
        latent: Tensor = self.net(self.pixels(image).reshape(-1, self.channels, IMAGE_SIZE, IMAGE_SIZE))
        return latent


class Predictor(nn.Module):
    """latent `[B, 1, D]`, action `[B, 1, A]` → latent `[B, D]` after the step, and the step's reward `[B, 1]`."""

    def __init__(self, dynamics: nn.Module, reward: nn.Module, scale: Standardise, decode: TwoHot) -> None:
        super().__init__()
        self.dynamics, self.reward, self.scale, self.decode = dynamics, reward, scale, decode

    def forward(self, latent: Tensor, action: Tensor) -> tuple[Tensor, Tensor]:
        both = torch.cat([latent[:, -1], self.scale(action[:, -1])], -1)
        return self.dynamics(both), self.decode(self.reward(both))


class Policy(nn.Module):
    """latent `[B, D]`, noise `[B, A]` → action `[B, A]`: tanh of a Gaussian, in the manifest's units."""

    def __init__(self, net: nn.Module, log_std_min: Tensor, log_std_dif: Tensor, scale: Standardise) -> None:
        super().__init__()
        self.net, self.scale = net, scale
        self.register_buffer("log_std_min", log_std_min.clone(), persistent=False)
        self.register_buffer("log_std_dif", log_std_dif.clone(), persistent=False)
        self.log_std_min: Tensor
        self.log_std_dif: Tensor

    def forward(self, latent: Tensor, noise: Tensor) -> Tensor:
        mean, raw = self.net(latent).chunk(2, -1)
        log_std = self.log_std_min + 0.5 * self.log_std_dif * (raw.tanh() + 1.0)
        return (mean + log_std.exp() * noise).tanh() * self.scale.std + self.scale.mean


class Value(nn.Module):
    """latent `[B, D]` → return to go `[B]` of the policy's mean action: average or minimum over the Q ensemble.

    The original draws the action from the policy, and two members of the ensemble at random, whose mean it takes; the
    average over all is that mean's expectation.
    """

    def __init__(self, policy: nn.Module, ensemble: nn.Module, decode: TwoHot, minimum: bool) -> None:
        super().__init__()
        self.policy, self.ensemble, self.decode, self.minimum = policy, ensemble, decode, minimum

    def forward(self, latent: Tensor) -> Tensor:
        mean, _ = self.policy(latent).chunk(2, -1)
        values: Tensor = self.decode(self.ensemble(torch.cat([latent, mean.tanh()], -1))).squeeze(-1)
        return values.amin(0) if self.minimum else values.mean(0)
