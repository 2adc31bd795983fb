"""The originals' formulas, step by step, on weights under the originals' names: what exported models must equal."""

from __future__ import annotations

import math

import torch
from torch.nn import functional


def norm(state, name, x, eps=1e-6):
    """LayerNorm `name` of a state."""
    return functional.layer_norm(x, x.shape[-1:], state[f"{name}.weight"], state[f"{name}.bias"], eps)


def linear(state, name, x):
    """Linear layer `name` of a state."""
    return x @ state[f"{name}.weight"].T + state[f"{name}.bias"]


def dinov2(state, pixels, heads, patch=14):
    """facebookresearch/dinov2's patch tokens after the norm: learned positions scaled by (side + 0.1) / n."""
    x = functional.conv2d(pixels, state["patch_embed.proj.weight"], state["patch_embed.proj.bias"], stride=patch)
    side = x.shape[-1]
    stored = state["pos_embed"]
    n = math.isqrt(stored.shape[1] - 1)
    grid = stored[:, 1:].reshape(1, n, n, -1).permute(0, 3, 1, 2)
    grid = functional.interpolate(grid, scale_factor=((side + 0.1) / n, (side + 0.1) / n), mode="bicubic")
    x = torch.cat([state["cls_token"].expand(len(x), -1, -1), x.flatten(2).transpose(1, 2)], 1)
    x = x + torch.cat([stored[:, :1], grid.flatten(2).transpose(1, 2)], 1)
    for layer in range(sum(name.endswith("ls1.gamma") for name in state)):
        at = f"blocks.{layer}."
        qkv = linear(state, f"{at}attn.qkv", norm(state, f"{at}norm1", x))
        q, k, v = (part.unflatten(-1, (heads, -1)).transpose(1, 2) for part in qkv.chunk(3, -1))
        seen = (q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])).softmax(-1) @ v
        x = x + state[f"{at}ls1.gamma"] * linear(state, f"{at}attn.proj", seen.transpose(1, 2).flatten(2))
        hidden = functional.gelu(linear(state, f"{at}mlp.fc1", norm(state, f"{at}norm2", x)))
        x = x + state[f"{at}ls2.gamma"] * linear(state, f"{at}mlp.fc2", hidden)
    return norm(state, "norm", x)[:, 1:]


def turned(x, frame, row, column):
    """One head's channels of one token, turned by its place: thirds for frame, row and column, pair after pair. Channel
    c of a third takes frequency c mod (third / 2), so the two of a pair turn by different angles."""
    third = 2 * (len(x) // 3 // 2)
    result = x.clone()
    for axis, place in enumerate((frame, row, column)):
        for channel in range(third):
            at = axis * third + channel
            angle = place * 10000 ** (-(channel % (third // 2)) / (third / 2))
            other = -x[at + 1] if channel % 2 == 0 else x[at - 1]
            result[at] = x[at] * math.cos(angle) + other * math.sin(angle)
    return result


def adaln_predictor(state, tokens, features, action, heads, side):
    """jepa-wms' predictor on one example: tokens `[T, N, D]`, features `[T, N, F]` or None, action `[T, A]`."""
    x = linear(state, "predictor_embed", tokens)
    width = x.shape[-1]
    if features is not None:
        x = torch.cat([x, features], -1)
    steps, count = x.shape[:2]
    places = [(t, n // side, n % side) for t in range(steps) for n in range(count)]
    condition = functional.silu(linear(state, "action_encoder", action))
    for layer in range(sum(name.endswith("attn.qkv.weight") for name in state)):
        at = f"predictor_blocks.{layer}."
        parts = linear(state, f"{at}adaLN_modulation.1", condition).repeat_interleave(count, 0).chunk(6, -1)
        shift1, scale1, gate1, shift2, scale2, gate2 = (part.unflatten(0, (steps, count)) for part in parts)
        y = linear(state, f"{at}attn.qkv", norm(state, f"{at}norm1", x) * (1 + scale1) + shift1).flatten(0, 1)
        q, k, v = (part.unflatten(-1, (heads, -1)) for part in y.chunk(3, -1))
        seen = torch.zeros_like(q)
        for head in range(heads):
            keys = torch.stack([turned(k[n, head], *place) for n, place in enumerate(places)])
            for n, place in enumerate(places):
                until = (place[0] + 1) * count  # of its own frame and of those before it
                weights = (keys[:until] @ turned(q[n, head], *place) / math.sqrt(keys.shape[1])).softmax(0)
                seen[n, head] = weights @ v[:until, head]
        x = x + gate1 * linear(state, f"{at}attn.proj", seen.flatten(1)).unflatten(0, (steps, count))
        y = norm(state, f"{at}norm2", x) * (1 + scale2) + shift2
        x = x + gate2 * linear(state, f"{at}mlp.fc2", functional.gelu(linear(state, f"{at}mlp.fc1", y)))
    x = norm(state, "predictor_norm", x)
    return linear(state, "predictor_proj", x[..., :width]), x[..., width:]


def without_gradient(module, outputs):
    """Names of a module's parameters that nothing of the outputs depends on."""
    total = sum((output * torch.randn_like(output)).sum() for output in outputs)
    names, parameters = zip(*module.named_parameters(), strict=True)
    gradients = torch.autograd.grad(total, parameters, allow_unused=True)
    return [name for name, g in zip(names, gradients, strict=True) if g is None or not g.abs().max() > 1e-9]
