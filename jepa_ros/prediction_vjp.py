"""The predictor's derivative on ONNX Runtime: back through the predictions of a rollout, to its actions.

Reverse accumulation (Griewank & Walther, Evaluating Derivatives, 2008, chapter 3) with one vector-Jacobian product of
the predictor for each step, from the last to the first. Nothing of the rollout is kept but what it predicted: each
product computes its own forward pass anew.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from jepa_ros.bundle.layout import StateLayout
from jepa_ros.bundle.manifest import Manifest
from jepa_ros.errors import ModelError
from jepa_ros.prediction import Predictor, most_rows
from jepa_ros.runtime import Session
from jepa_ros.types import Float32


class PredictorDerivative:
    """`predictor_vjp.onnx` applied step by step; see `signatures` for what it takes and gives.

    Args:
        manifest: what the graph takes and gives.
        layout: of its state.
        session: of the graph.
        predictor: of the same bundle; it says which part of a history is used.
    """

    def __init__(self, manifest: Manifest, layout: StateLayout, session: Session, predictor: Predictor) -> None:
        self._manifest, self._layout, self._session, self._predictor = manifest, layout, session, predictor
        self._context = manifest.predictor.max_context
        self._sequence = manifest.predictor.output == "sequence"
        rows = most_rows(manifest, layout)
        # Forward and backward are in memory together. A fixed batch is what it is.
        self._most_rows = rows if manifest.predictor.batch else max(rows // 2, 1)

    def pullback(
        self, latents: Float32, past_actions: Float32, actions: Float32, predicted: Float32, cotangent: Float32
    ) -> Float32:
        """See `DifferentiableModel.pullback`.

        Raises:
            ModelError: shapes that do not fit the model or each other.
        """
        batch, horizon = actions.shape[:2]
        wanted = (batch, horizon, self._layout.size)
        if predicted.shape != wanted or cotangent.shape != wanted:
            raise ModelError(
                f"predictor_vjp: predicted {list(predicted.shape)} and cotangent {list(cotangent.shape)} must be "
                f"{list(wanted)}, as the rollout gave"
            )
        seen, past = self._predictor.history(latents, past_actions, actions)
        found = np.zeros(actions.shape, np.float32)
        for begin in range(0, batch, self._most_rows):
            rows = slice(begin, begin + self._most_rows)
            known = np.concatenate([seen[rows], predicted[rows]], axis=1, dtype=np.float32)
            applied = np.concatenate([past[rows], actions[rows]], axis=1, dtype=np.float32)
            found[rows] = self._back(known, applied, cotangent[rows])
        return found

    def _back(self, latents: Float32, actions: Float32, cotangent: Float32) -> Float32:
        """From the last step to the first.

        Args:
            latents: `[B, known + H, D]` seen, then predicted; row t + 1 follows from row t and its action.
            actions: `[B, known − 1 + H, A]`.
            cotangent: `[B, H, D]`.
        """
        horizon = cotangent.shape[1]
        seen = latents.shape[1] - horizon
        by_latent, by_action = np.zeros_like(latents), np.zeros_like(actions)
        by_latent[:, seen:] = cotangent
        for h in reversed(range(horizon)):
            # The graph's last position that counts, and which row of time lies at its first: below 0 is padding.
            newest = seen - 1 + h
            now = min(newest, self._context - 1) if self._sequence else self._context - 1
            first = newest - now
            begin = max(-first, 0)
            inputs = self._window(latents, actions, first, now)
            inputs |= self._cotangents(by_latent[:, newest + 1], now)
            given = self._session.run_rows(**inputs)
            at, time = slice(begin, now + 1), slice(first + begin, newest + 1)
            by_action[:, time] += np.asarray(given["grad_action"][:, at], np.float32)
            for tensor in self._layout.taken:
                gradient = np.asarray(given[f"grad_{tensor.name}"], np.float32)
                flat = gradient.reshape(*gradient.shape[:2], -1)
                by_latent[:, time, self._layout.place(tensor.name)] += flat[:, at]
        return by_action[:, seen - 1 :]

    def _window(self, latents: Float32, actions: Float32, first: int, now: int) -> dict[str, NDArray[np.generic]]:
        """What the predictor saw when it predicted row `first + now + 1`, as `Predictor` lays it out."""
        batch = len(latents)
        # In front of what was seen stands the oldest latent, at rest.
        time = np.maximum(np.arange(first, first + now + 1), 0)
        inputs: dict[str, NDArray[np.generic]] = {}
        for tensor in self._layout.taken:
            context = np.zeros((batch, self._context, *tensor.shape), np.float32)
            context.reshape(batch, self._context, -1)[:, : now + 1] = latents[:, time, self._layout.place(tensor.name)]
            inputs[tensor.name] = context
        begin = max(-first, 0)
        action = np.zeros((batch, self._context, self._manifest.action_size), np.float32)
        action[:, begin : now + 1] = actions[:, first + begin : first + now + 1]
        inputs["action"] = action
        return inputs

    def _cotangents(self, cotangent: Float32, now: int) -> dict[str, NDArray[np.generic]]:
        """`[B, D]` of the state after the newest step, for each output of the predictor."""
        batch = len(cotangent)
        found: dict[str, NDArray[np.generic]] = {}
        for tensor in self._layout.all:
            part = np.ascontiguousarray(self._layout.part(cotangent, tensor.name)).reshape(batch, *tensor.shape)
            if self._sequence:
                whole = np.zeros((batch, self._context, *tensor.shape), np.float32)
                whole[:, now] = part
                part = whole
            found[f"cotangent_{self._manifest.next_name(tensor)}"] = part
        return found
