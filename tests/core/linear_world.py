"""A world whose best plan is known: the latent is a position, and an action moves it by itself."""

from __future__ import annotations

import numpy as np

from jepa_ros.bundle.manifest import CostTerm, Manifest
from jepa_ros.planning.problem import History, PlanProblem


class LinearWorld:
    """latent' = latent + action; `on_rollout` is called before each rollout."""

    def __init__(self, size=2, on_rollout=lambda: None):
        self.size = size
        self.on_rollout = on_rollout
        self.calls = []

    def encode(self, frame, measured=None):
        return frame.reshape(-1)[: self.size].astype(np.float32) / 100

    def rollout(self, latents, past_actions, actions):
        self.on_rollout()
        self.calls.append((latents.copy(), past_actions.copy(), actions.copy()))
        return latents[-1] + np.cumsum(actions, axis=1, dtype=np.float32)

    def head(self, name, latents, goal):
        assert name == "value"
        return np.abs(latents - goal).sum(axis=1)


def term(**fields):
    return CostTerm(**fields)


TERMS = (term(), term(weight=0.5, steps="last"))


def problem(objective, start=(0.0, 0.0), horizon=1, low=(-1.0, -1.0), high=(1.0, 1.0), **more):
    start = np.array([start], dtype=np.float32)
    history = History(start, np.zeros((0, len(low)), dtype=np.float32))
    return PlanProblem(history=history, objective=objective, horizon=horizon, low=low, high=high, **more)


def manifest(
    low=(-1.0, -1.0),
    high=(1.0, 1.0),
    warm_up="grow",
    history_min=1,
    history_max=3,
    terms=TERMS,
    action=None,
    **planner,
):
    settings = {"name": "cem", "samples": 64, "iterations": 3, "elites": 8, "horizon": 3, "knot": 1, **planner}
    heads = {"value": {"file": "heads/value.onnx", "inputs": ["latent", "goal"], "output": "value"}}
    axes = {"names": ["x", "y"], "units": ["m", "m"], "low": list(low), "high": list(high), **(action or {})}
    return Manifest(
        family="linear",
        name="test",
        licence="Apache-2.0",
        source="test",
        created_by="test",
        camera={"width": 2, "height": 1},
        timing={"step_s": 0.2, "history_min": history_min, "history_max": history_max, "warm_up": warm_up},
        state=[{"name": "latent", "kind": "vector", "shape": [2]}],
        action=axes,
        predictor={"max_context": 3},
        heads=heads,
        cost=list(terms),
        planner=settings,
        calibration={"arrival_energy": 0.01, "surprise_p50": 0.01, "surprise_p99": 0.04},
    )
