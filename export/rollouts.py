"""The horizon in PyTorch, as the papers write it: the context grows, then slides; nothing is padded behind it."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from jepa_ros.bundle.layout import StateLayout
from jepa_ros.golden import relative_error
from jepa_ros.types import Float32
from jepa_ros.world_model import OnnxWorldModel
from jepa_ros_export.family import Parts
from jepa_ros_export.family_probes import bounds
from jepa_ros_export.graphs import as_tuple

_ROWS = 3
_LONG = 30  # steps from which rounding is measured
ROUNDINGS = 10  # ONNX Runtime's tanh and sigmoid are further off than an order of sums
LOOSEST = 1e-2  # whatever the rounding: beyond it, numbers say little of the model


@dataclass(frozen=True)
class RolloutError:
    """Largest relative errors over the planner's horizon: of the runtime against PyTorch, and of PyTorch's fp32 against
    its own fp64. A long horizon amplifies rounding; no two orders of the same sums agree better than the latter."""

    found: float
    rounding: float

    def within(self, tolerance: float) -> bool:
        """Whether the runtime is as near to PyTorch as asked, or as near as rounding lets it be."""
        return self.found <= max(tolerance, min(ROUNDINGS * self.rounding, LOOSEST))


def rollout_error(parts: Parts, model: OnnxWorldModel, latents: Float32, rng: np.random.Generator) -> RolloutError:
    """Compare `OnnxWorldModel.rollout` over the planner's horizon, from one latent and from a full context.

    Args:
        latents: `[M, D]` to begin from.
    """
    spec, worst, rounding = parts.manifest.predictor, 0.0, 0.0
    horizon = parts.manifest.planner.horizon or 6
    if not spec.sliding:
        horizon = min(horizon, spec.max_context)
    low, high, _ = bounds(parts.manifest)
    for known in sorted({1, spec.max_context if spec.sliding else spec.max_context - horizon + 1}):
        history = latents[rng.integers(0, len(latents), known)]
        past = rng.uniform(low, high, (known - 1, len(low))).astype(np.float32)
        actions = rng.uniform(low, high, (_ROWS, horizon, len(low))).astype(np.float32)
        found, truth = model.rollout(history, past, actions), torch_rollout(parts, history, past, actions)
        worst = max(worst, relative_error(found, truth))
        if horizon >= _LONG:
            exact = torch_rollout(parts, history, past, actions, torch.float64)
            rounding = max(rounding, relative_error(truth, exact))
    return RolloutError(worst, rounding)


def torch_rollout(
    parts: Parts, history: Float32, past: Float32, actions: Float32, precision: torch.dtype = torch.float32
) -> Float32:
    """Latents `[known, D]`, `[known − 1, A]` and actions `[B, H, A]` → `[B, H, D]`."""
    predictor = copy.deepcopy(parts.predictor).to(precision) if precision != torch.float32 else parts.predictor
    layout, spec = StateLayout(parts.manifest.state), parts.manifest.predictor
    rows = len(actions)
    missing = 0 if spec.output == "sequence" else spec.max_context - len(history)
    padded = np.concatenate([np.repeat(history[:1], max(missing, 0), axis=0), history])
    done = np.concatenate([np.zeros((max(missing, 0), actions.shape[2]), np.float32), past])
    states = {
        t.name: _repeated(padded[:, layout.place(t.name)], rows).reshape(rows, len(padded), *t.shape).to(precision)
        for t in layout.taken
    }
    applied = _repeated(done, rows).to(precision)
    predicted = []
    with torch.inference_mode():
        for h in range(actions.shape[1]):
            applied = torch.cat([applied, torch.from_numpy(actions[:, h : h + 1]).to(precision)], 1)
            inputs = [state[:, -spec.max_context :] for state in states.values()]
            outputs = as_tuple(predictor(*inputs, applied[:, -spec.max_context :]))
            following = [out[:, -1] if spec.output == "sequence" else out for out in outputs]
            predicted.append(torch.cat([part.flatten(1) for part in following], 1))
            for tensor, part in zip(layout.all, following, strict=True):
                if tensor.name in states:
                    states[tensor.name] = torch.cat([states[tensor.name], part[:, None]], 1)
    return np.asarray(torch.stack(predicted, 1).numpy(), np.float32)


def _repeated(array: Float32, rows: int) -> Tensor:
    return torch.from_numpy(np.repeat(array[None], rows, axis=0))
