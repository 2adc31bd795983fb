"""What PLDM and EB-JEPA are built of: scaled frames, a residual convolutional encoder, a recurrent step, and maps.

Parameters carry the names of the originals' checkpoints, so that these load as they are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from jepa_ros.errors import BundleError
from jepa_ros_export.checkpoint import under

# Added to every range and deviation before dividing by it, in both projects.
EPSILON = 1e-6


def own_part(
    state: Mapping[str, Tensor], what: str, prefixes: Sequence[str], beside: Sequence[str]
) -> dict[str, Tensor]:
    """The tensors under the first of `prefixes` that occurs, without it.

    Args:
        what: the model, for the message.
        beside: beginnings of names that a checkpoint may have beside the model's, such as an optimizer's.

    Raises:
        BundleError: a tensor that is under neither, named.
    """
    every = under(state, "")
    prefix = next((prefix for prefix in prefixes if any(name.startswith(prefix) for name in every)), "")
    for name, tensor in every.items():
        if not name.startswith((prefix, *beside)):
            raise BundleError(
                f"{what}: the checkpoint has {name} {list(tensor.shape)}, which this model has no place for"
            )
    return under(state, prefix)


class FrameScaling(nn.Module):
    """uint8 `[N, h, w, c]` → float `[N, c, h, w]`, (x − mean) / (std + ε).

    Args:
        mean, std: one entry a channel, of what is scaled; None for 0 and 1.
        min_max: first bring every channel of every frame to 0…1 by its own least and greatest pixel.
    """

    def __init__(self, mean: Sequence[float] | None, std: Sequence[float] | None, min_max: bool) -> None:
        super().__init__()
        self.min_max = min_max
        self.register_buffer("mean", torch.tensor(mean or [0.0]).view(-1, 1, 1), persistent=False)
        self.register_buffer("divisor", torch.tensor(std or [1.0]).view(-1, 1, 1) + EPSILON, persistent=False)
        self.mean: Tensor
        self.divisor: Tensor

    def forward(self, image: Tensor) -> Tensor:
        frame = image.movedim(-1, -3).float()
        if self.min_max:
            frame = frame - frame.amin((-2, -1), keepdim=True)
            frame = frame / (frame.amax((-2, -1), keepdim=True) + EPSILON)
        return (frame - self.mean) / self.divisor


class _ResidualBlock(nn.Module):
    """relu(x + conv(relu(conv(x)))), 3×3."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return (x + self.conv2(self.conv1(x).relu())).relu()


class _Stack(nn.Module):
    """A convolution, pooling that halves the size (rounded up), residual blocks."""

    def __init__(self, before: int, channels: int, blocks: int) -> None:
        super().__init__()
        self.initial_conv = nn.Conv2d(before, channels, 3, padding=1)
        self.blocks = nn.ModuleList(_ResidualBlock(channels) for _ in range(blocks))

    def forward(self, x: Tensor) -> Tensor:
        x = functional.max_pool2d(self.initial_conv(x), 3, stride=2, padding=1)
        for block in self.blocks:
            x = block(x)
        return x


class ResidualEncoder(nn.Module):
    """Frame `[N, c, s, s]` → vector `[N, D]`: IMPALA's residual stacks, one linear layer, LayerNorm.

    Espeholt et al., IMPALA (arXiv 1802.01561), figure 3, the large one, but with ReLU after each sum and not before.

    Args:
        channels, size: of the frame.
        stacks: channels of each stack.
        blocks: residual blocks a stack.
        width: D.
        layer_norm: whether the vector is normalised.
    """

    def __init__(
        self, channels: int, size: int, stacks: Sequence[int], blocks: int, width: int, layer_norm: bool
    ) -> None:
        super().__init__()
        self.stack_blocks = nn.ModuleList()
        for stack in stacks:
            self.stack_blocks.append(_Stack(channels, stack, blocks))
            channels, size = stack, (size + 1) // 2
        self.mlp = nn.Linear(channels * size * size, width)
        self.final_ln = nn.LayerNorm(width) if layer_norm else nn.Identity()

    def forward(self, frame: Tensor) -> Tensor:
        for stack in self.stack_blocks:
            frame = stack(frame)
        return self.final_ln(self.mlp(frame.relu().flatten(1)))


class _Gates(nn.Module):
    """One step of one gated recurrent layer, equations written out: input `[B, A]`, hidden `[B, D]` → hidden.

    Cho et al. (arXiv 1406.1078) with PyTorch's second bias, inside the reset gate. The fused operator has no gradient
    that converts to ONNX.
    """

    def __init__(self, inputs: int, hidden: int) -> None:
        super().__init__()
        bound = hidden**-0.5
        self.weight_ih_l0 = nn.Parameter(torch.empty(3 * hidden, inputs).uniform_(-bound, bound))
        self.weight_hh_l0 = nn.Parameter(torch.empty(3 * hidden, hidden).uniform_(-bound, bound))
        self.bias_ih_l0 = nn.Parameter(torch.empty(3 * hidden).uniform_(-bound, bound))
        self.bias_hh_l0 = nn.Parameter(torch.empty(3 * hidden).uniform_(-bound, bound))

    def forward(self, given: Tensor, hidden: Tensor) -> Tensor:
        of_input = functional.linear(given, self.weight_ih_l0, self.bias_ih_l0).chunk(3, -1)
        of_hidden = functional.linear(hidden, self.weight_hh_l0, self.bias_hh_l0).chunk(3, -1)
        reset = (of_input[0] + of_hidden[0]).sigmoid()
        keep = (of_input[1] + of_hidden[1]).sigmoid()
        new = (of_input[2] + reset * of_hidden[2]).tanh()
        return (1 - keep) * new + keep * hidden


class RecurrentStep(nn.Module):
    """Latent `[B, D]`, action `[B, A]` → the next latent: the latent is the hidden state, the action the input."""

    def __init__(self, actions: int, width: int, layer_norm: bool) -> None:
        super().__init__()
        self.rnn = _Gates(actions, width)
        self.final_ln = nn.LayerNorm(width) if layer_norm else nn.Identity()

    def forward(self, latent: Tensor, action: Tensor) -> Tensor:
        return self.final_ln(self.rnn(action, latent))


class _GroupNorm(nn.GroupNorm):
    """GroupNorm in two passes, each summed axis by axis.

    One pass in PyTorch, or one sum of all in ONNX Runtime, loses three of seven digits on a frame of one colour, such
    as a covered camera gives, and the two no longer agree.
    """

    def forward(self, x: Tensor) -> Tensor:
        grouped = x.unflatten(1, (self.num_groups, -1))
        centred = grouped - _mean(grouped)
        scaled = centred / (_mean(centred.square()) + self.eps).sqrt()
        return scaled.flatten(1, 2) * self.weight[:, None, None] + self.bias[:, None, None]


def _mean(grouped: Tensor) -> Tensor:
    """Of `[N, g, c, h, w]` over all but the first two, kept as ones."""
    return grouped.mean(-1, keepdim=True).mean(-2, keepdim=True).mean(-3, keepdim=True)


class MapEncoder(nn.Module):
    """Frame `[N, c, s, s]` → map `[N, C, h, h]`: convolutions, each but the last with GroupNorm (fours) and ReLU.

    Args:
        channels: of the frame.
        convolutions: channels, kernel, stride and padding of each.
    """

    def __init__(self, channels: int, convolutions: Sequence[tuple[int, int, int, int]]) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for out, kernel, stride, padding in convolutions:
            if layers:
                layers += [_GroupNorm(channels // 4, channels), nn.ReLU()]
            layers.append(nn.Conv2d(channels, out, kernel, stride, padding))
            channels = out
        # The original has a place for a normalisation in front, empty at this level.
        self.layers = nn.Sequential(nn.Identity(), nn.Sequential(*layers))

    def forward(self, frame: Tensor) -> Tensor:
        result: Tensor = self.layers(frame)
        return result


class MapStep(nn.Module):
    """State map `[B, C, h, h]`, action `[B, A]` → the next map; each action component becomes a plane of its own.

    Args:
        channels: C.
        actions: A.
        widths: channels of the convolutions but the last.
        kernel: of all of them; odd, so that the size stays.
        residual: whether they give the change rather than the next map.
    """

    def __init__(self, channels: int, actions: int, widths: Sequence[int], kernel: int, residual: bool) -> None:
        super().__init__()
        self.residual = residual
        layers: list[nn.Module] = []
        before = channels + actions
        for width in widths:
            layers += [nn.Conv2d(before, width, kernel, padding=kernel // 2), _GroupNorm(4, width), nn.ReLU()]
            before = width
        layers.append(nn.Conv2d(before, channels, kernel, padding=kernel // 2))
        self.layers = nn.Sequential(*layers)

    def forward(self, state: Tensor, action: Tensor) -> Tensor:
        result: Tensor = self.layers(torch.cat([state, planes(action, state.shape[-1])], 1))
        return result + state if self.residual else result


class ScaledEncoder(nn.Module):
    """uint8 `[N, s, s, c]` → what the network makes of the scaled frame."""

    def __init__(self, scaling: nn.Module, network: nn.Module) -> None:
        super().__init__()
        self.scaling, self.network = scaling, network

    def forward(self, image: Tensor) -> Tensor:
        result: Tensor = self.network(self.scaling(image))
        return result


class StandardisedPredictor(nn.Module):
    """Latent `[B, 1, …]`, action `[B, 1, A]` in the manifest's units → the next latent `[B, …]`."""

    def __init__(self, standardise: nn.Module, step: nn.Module) -> None:
        super().__init__()
        self.standardise, self.step = standardise, step

    def forward(self, latent: Tensor, action: Tensor) -> Tensor:
        result: Tensor = self.step(latent[:, -1], self.standardise(action[:, -1]))
        return result


def planes(values: Tensor, size: int) -> Tensor:
    """`[N, K]` → `[N, K, size, size]`, each value all over its plane."""
    return values[..., None, None].expand(-1, -1, size, size)


def map_size(size: int, convolutions: Sequence[tuple[int, int, int, int]]) -> int:
    """Height and width of what convolutions make of a square frame."""
    for _, kernel, stride, padding in convolutions:
        size = (size + 2 * padding - kernel) // stride + 1
    return size


def shake_norms(module: nn.Module) -> None:
    """Give normalisations weights that a mistaken name would not leave the same (they begin at 1 and 0)."""
    with torch.no_grad():
        for part in module.modules():
            if isinstance(part, (nn.LayerNorm, nn.GroupNorm)):
                part.weight.add_(0.1 * torch.randn_like(part.weight))
                part.bias.add_(0.1 * torch.randn_like(part.bias))
