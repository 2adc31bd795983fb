"""The encoders' published formulas, step by step on weights as the original projects name them: no class of ours or of
transformers. Papers: see `export/encoders.py`."""

from __future__ import annotations

import math

import torch
from torch.nn.functional import gelu, layer_norm, silu


def cubic_matrix(n, side, scale):
    """`[side, n]`: bicubic sampling (a = −0.75) of n points at `side` places, one place being 1 / scale points."""
    matrix = torch.zeros(side, n, dtype=torch.float64)
    for place in range(side):
        at = (place + 0.5) / scale - 0.5
        for point in range(math.floor(at) - 1, math.floor(at) + 3):
            x = abs(at - point)
            near = 1.25 * x**3 - 2.25 * x**2 + 1
            far = -0.75 * (x**3 - 5 * x**2 + 8 * x - 4)
            matrix[place, min(max(point, 0), n - 1)] += near if x <= 1 else far
    return matrix


def dinov2_positions(stored, side):
    """`[1, 1 + n², D]` → `[1, 1 + side², D]`, scaled by (side + 0.1) / n as dinov2's hub does."""
    n = math.isqrt(stored.shape[1] - 1)
    matrix = cubic_matrix(n, side, (side + 0.1) / n)
    grid = stored[0, 1:].double().reshape(n, n, -1)
    grid = torch.einsum("ai,bj,ijd->abd", matrix, matrix, grid)
    return torch.cat([stored[:, :1], grid.reshape(1, side * side, -1).float()], 1)


def rotation_dinov3(side, periods):
    """Angle `[side², head]` of each patch and channel: rows, then columns, then both again."""
    angles = torch.zeros(side * side, 4 * len(periods))
    for row in range(side):
        for column in range(side):
            y, x = 2 * (row + 0.5) / side - 1, 2 * (column + 0.5) / side - 1
            half = torch.cat([2 * math.pi * y / periods.float(), 2 * math.pi * x / periods.float()])
            angles[row * side + column] = torch.cat([half, half])
    return angles


def turned_dinov3(x, angles):
    """`[N, heads, T, d]`: the last T' tokens turned, channel c with c + d/2."""
    patches, size = angles.shape
    before, x = x[:, :, :-patches], x[:, :, -patches:]
    turned = torch.cat([-x[..., size // 2 :], x[..., : size // 2]], -1)
    return torch.cat([before, x * angles.cos() + turned * angles.sin()], 2)


def turned_vjepa2(x, side):
    """`[N, heads, side², d]`: thirds turned by time (0), row, column; channel 2i with 2i + 1. Sines and cosines are
    repeated as a whole rather than by pairs, which is the slip that the published weights were trained with."""
    third = 2 * (x.shape[-1] // 3 // 2)
    frequency = 10000.0 ** (-torch.arange(third // 2) / (third / 2))
    out = x.clone()
    for token in range(side * side):
        for axis, position in enumerate((0, token // side, token % side)):
            for c in range(third // 2):
                i, j = axis * third + 2 * c, axis * third + 2 * c + 1
                angles = position * frequency[[(2 * c) % (third // 2), (2 * c + 1) % (third // 2)]]
                first, second = x[:, :, token, i], x[:, :, token, j]
                out[:, :, token, i] = first * angles[0].cos() - second * angles[0].sin()
                out[:, :, token, j] = second * angles[1].cos() + first * angles[1].sin()
    return out


def patch_tokens(kind, w, pixels, heads, eps=1e-6):
    """`[N, 3, h, w]` → patch tokens after the final norm, from an original encoder's tensors by name."""
    kernel = w["patch_embed.proj.weight"]
    if kind == "vjepa2":
        kernel = kernel.sum(2)  # of a frame that is repeated
    patch, width = kernel.shape[-1], len(kernel)
    side = pixels.shape[-1] // patch
    cut = pixels.unfold(2, patch, patch).unfold(3, patch, patch).permute(0, 2, 3, 1, 4, 5).flatten(1, 2).flatten(2)
    x = cut @ kernel.reshape(width, -1).T + w["patch_embed.proj.bias"]
    prefix = []
    if kind in ("dinov2", "dinov3"):
        prefix.append(w["cls_token"])
    if kind == "dinov2":
        positions = dinov2_positions(w["pos_embed"], side)
        x = x + positions[:, 1:]
        prefix[0] = prefix[0] + positions[:, :1]
    if kind == "ijepa":
        x = x + w["pos_embed"]
    prefix += [w[name] for name in ("register_tokens", "storage_tokens") if name in w]
    x = torch.cat([*(tokens.expand(len(x), -1, -1) for tokens in prefix), x], 1)
    layer = 0
    while f"blocks.{layer}.norm1.weight" in w:
        b = {name.removeprefix(f"blocks.{layer}."): v for name, v in w.items() if name.startswith(f"blocks.{layer}.")}
        y = layer_norm(x, (width,), b["norm1.weight"], b["norm1.bias"], eps)
        bias = b["attn.qkv.bias"] * b.get("attn.qkv.bias_mask", 1) if "attn.qkv.bias" in b else 0
        y = (y @ b["attn.qkv.weight"].T + bias).unflatten(-1, (3, heads, -1))
        q, k, v = (y[:, :, i].transpose(1, 2) for i in range(3))
        if kind == "dinov3":
            angles = rotation_dinov3(side, w["rope_embed.periods"])
            q, k = turned_dinov3(q, angles), turned_dinov3(k, angles)
        if kind == "vjepa2":
            q, k = turned_vjepa2(q, side), turned_vjepa2(k, side)
        y = ((q @ k.mT / math.sqrt(q.shape[-1])).softmax(-1) @ v).transpose(1, 2).flatten(2)
        x = x + (y @ b["attn.proj.weight"].T + b["attn.proj.bias"]) * b.get("ls1.gamma", 1)
        y = layer_norm(x, (width,), b["norm2.weight"], b["norm2.bias"], eps)
        x = x + feed_forward(b, y) * b.get("ls2.gamma", 1)
        layer += 1
    x = layer_norm(x, (width,), w["norm.weight"], w["norm.bias"], eps)
    return x[:, x.shape[1] - side * side :]


def feed_forward(b, y):
    """Of a block: two layers, or gated with the halves of w12 (DINOv2) or with w1 and w2 (DINOv3)."""
    if "mlp.fc1.weight" in b:
        return gelu(y @ b["mlp.fc1.weight"].T + b["mlp.fc1.bias"]) @ b["mlp.fc2.weight"].T + b["mlp.fc2.bias"]
    if "mlp.w12.weight" in b:
        gate, value = (y @ b["mlp.w12.weight"].T + b["mlp.w12.bias"]).chunk(2, -1)
    else:
        gate = y @ b["mlp.w1.weight"].T + b["mlp.w1.bias"]
        value = y @ b["mlp.w2.weight"].T + b["mlp.w2.bias"]
    return (silu(gate) * value) @ b["mlp.w3.weight"].T + b["mlp.w3.bias"]
