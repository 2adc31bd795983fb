"""The formulas of TD-MPC2 (arXiv 2310.16828, §3.1) written out in NumPy, on the weights of the tiny checkpoint."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from jepa_ros_export import tdmpc2 as family

Array = NDArray[np.float64]
Weights = dict[str, Array]

CONFIG = family.tiny()
LATENT, ACTIONS = CONFIG.latent_dim, len(CONFIG.action.names)


def checkpoint() -> dict[str, Tensor]:
    torch.manual_seed(3)
    return family.random_checkpoint(CONFIG)


def as_weights(state: dict[str, Tensor]) -> Weights:
    return {name.removeprefix("model."): tensor.double().numpy() for name, tensor in state.items()}


def latents(count: int, seed: int = 0) -> Array:
    return simplices(np.random.default_rng(seed).normal(size=(count, LATENT)))


def actions(count: int, seed: int = 1) -> Array:
    low, high = np.array(CONFIG.action.low), np.array(CONFIG.action.high)
    return np.random.default_rng(seed).uniform(low, high, (count, ACTIONS))


def f32(array: Array) -> Tensor:
    return torch.from_numpy(np.asarray(array, np.float32))


def simplices(x: Array, group: int = CONFIG.simnorm_dim) -> Array:
    """Softmax of x[0:group], x[group:2·group], …"""
    out = np.empty_like(x)
    for begin in range(0, x.shape[-1], group):
        e = np.exp(x[..., begin : begin + group])
        out[..., begin : begin + group] = e / e.sum(-1, keepdims=True)
    return out


def mish(x: Array) -> Array:
    return x * np.tanh(np.log1p(np.exp(x)))


def normed(x: Array, weights: Weights, name: str) -> Array:
    x = x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]
    x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
    return x * weights[f"{name}.ln.weight"] + weights[f"{name}.ln.bias"]


def hidden(x: Array, weights: Weights, name: str) -> Array:
    return mish(normed(mish(normed(x, weights, f"{name}.0")), weights, f"{name}.1"))


def plain(x: Array, weights: Weights, name: str) -> Array:
    return hidden(x, weights, name) @ weights[f"{name}.2.weight"].T + weights[f"{name}.2.bias"]


def number(logits: Array) -> Array:
    """What 101 bins from −10 to 10 stand for."""
    e = np.exp(logits)
    x = (e / e.sum(-1, keepdims=True)) @ np.linspace(-10, 10, 101)
    return np.sign(x) * (np.exp(np.abs(x)) - 1)


def to_unit(action: Array) -> Array:
    """From m/s and rad/s to −1 … 1: vx is −0.5 to 1, wz is −1 to 1."""
    return np.stack([(action[:, 0] - 0.25) / 0.75, action[:, 1]], -1)


def from_unit(unit: Array) -> Array:
    return np.stack([unit[:, 0] * 0.75 + 0.25, unit[:, 1]], -1)


def dynamics(latent: Array, unit: Array, weights: Weights) -> tuple[Array, Array]:
    both = np.concatenate([latent, unit], -1)
    following = simplices(normed(hidden(both, weights, "_dynamics"), weights, "_dynamics.2"))
    return following, number(plain(both, weights, "_reward"))


def policy(latent: Array, noise: Array, weights: Weights) -> Array:
    out = plain(latent, weights, "_pi")
    log_std = -10 + 12 * (np.tanh(out[:, ACTIONS:]) + 1) / 2
    return np.tanh(out[:, :ACTIONS] + np.exp(log_std) * noise)


def values(latent: Array, weights: Weights) -> Array:
    """`[Q, B]`, one member after the other."""
    both = np.concatenate([latent, policy(latent, np.zeros((len(latent), ACTIONS)), weights)], -1)
    found = []
    for member in range(CONFIG.num_q):
        own = {
            name.replace("_Qs.params", "Q"): array[member]
            for name, array in weights.items()
            if name.startswith("_Qs.params")
        }
        found.append(number(plain(both, own, "Q")))
    return np.stack(found)
