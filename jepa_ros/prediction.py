"""The predictor on ONNX Runtime: one step, and predictions fed back over a horizon."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from jepa_ros.bundle.layout import StateLayout
from jepa_ros.bundle.manifest import Manifest, StateTensor
from jepa_ros.errors import ModelError
from jepa_ros.runtime import BoundRun, Session
from jepa_ros.types import Float32

_MOST_BATCHES = 8
# A large batch of a large model is cut into parts: most bytes of one call's context, and of what the graph computes.
_MOST_BYTES = 256 * 2**20
_MOST_ACTIVATION_BYTES = 2 * 2**30
# Attention is written out in the graphs, so its scores [heads, n, n] over n positions lie in memory several times at
# once. Measured on ONNX Runtime's CPU: DINO-WM (16 heads, n = 3 · 196, D = 196 · 404) takes 0.113 GB a row, which is
# its scores 5 times and its context 4 times. Maps are convolved, through more channels than they have themselves.
_HEADS, _SCORES, _HIDDEN = 16, 5, 4
_CHANNELS = 4


def activation_bytes(manifest: Manifest, layout: StateLayout) -> int:
    """About what one row of the predictor takes while it runs, as if all its tokens attended to each other.

    Of several tensors the one with the most positions counts: others stand at the same places, in further channels.
    """
    positions = manifest.predictor.max_context * max(_positions(tensor) for tensor in layout.taken)
    hidden = manifest.predictor.max_context * layout.size
    if any(tensor.kind == "map" for tensor in layout.taken):
        hidden *= _CHANNELS
    return 4 * (_SCORES * _HEADS * positions**2 + _HIDDEN * hidden)


def most_rows(manifest: Manifest, layout: StateLayout) -> int:
    """Rows that the predictor runs on at once: its batch where that is fixed, else as many as memory has room for, at
    least one."""
    if manifest.predictor.batch is not None:
        return manifest.predictor.batch
    context = 4 * manifest.predictor.max_context * layout.size
    return max(min(_MOST_BYTES // context, _MOST_ACTIVATION_BYTES // activation_bytes(manifest, layout)), 1)


def _positions(tensor: StateTensor) -> int:
    """Places of a tensor that attend to one another."""
    return tensor.shape[0] if tensor.kind == "tokens" else 1


@dataclass
class _Step:
    """The predictor tied to buffers of one batch size.

    Attributes:
        context: `[B, T, size]` of each tensor that it takes, flat.
        action: `[B, T, A]`.
        following: `[B, size]` of each tensor, or `[B, T, size]` for a sequence, flat.
    """

    context: list[Float32]
    action: Float32
    following: list[Float32]
    run: BoundRun


class Predictor:
    """Buffers are made once for each batch size and reused; an instance is for one thread.

    Candidates run in parts of `most_rows`. Where the graph's batch is fixed, a part with fewer is filled up with its
    last candidate again; rows do not see one another, so that changes nothing.

    Args:
        manifest: what the graph takes and gives.
        layout: of its state.
        session: of the graph.
    """

    def __init__(self, manifest: Manifest, layout: StateLayout, session: Session) -> None:
        self._manifest, self._layout, self._session = manifest, layout, session
        self._context, self._sliding = manifest.predictor.max_context, manifest.predictor.sliding
        self._sequence = manifest.predictor.output == "sequence"
        self._taken = [layout.place(tensor.name) for tensor in layout.taken]
        self._given = [layout.place(tensor.name) for tensor in layout.all]
        self._most_rows = most_rows(manifest, layout)
        self._fixed = manifest.predictor.batch is not None
        self._steps: dict[int, _Step] = {}

    def rollout(self, latents: Float32, past_actions: Float32, actions: Float32) -> Float32:
        """See `OnnxWorldModel.rollout`."""
        batch, horizon = actions.shape[:2]
        latents, past = self.history(latents, past_actions, actions)
        predicted = np.empty((batch, horizon, self._layout.size), np.float32)
        for begin in range(0, batch, self._most_rows):
            rows = slice(begin, begin + self._most_rows)
            known, done, asked = latents[rows], past[rows], actions[rows]
            missing = self._most_rows - len(known) if self._fixed else 0
            if missing:
                known, done, asked = (_filled_up(array, missing) for array in (known, done, asked))
                full = np.empty((self._most_rows, *predicted.shape[1:]), np.float32)
                self._roll(known, done, asked, full)
                predicted[rows] = full[:-missing]
            else:
                self._roll(known, done, asked, predicted[rows])
        return predicted

    def history(self, latents: Float32, past_actions: Float32, actions: Float32) -> tuple[Float32, Float32]:
        """The part of a history that `rollout` uses: each candidate's latents `[B, known, D]` and the actions between
        them `[B, known − 1, A]`, views.

        Raises:
            ModelError: shapes that do not fit the model.
        """
        known = self._check(latents, past_actions, actions)
        # The same history for all, or each its own.
        latents = np.broadcast_to(latents, (len(actions), *latents.shape[-2:]))[:, -known:]
        past = np.broadcast_to(past_actions, (len(actions), *past_actions.shape[-2:]))
        return latents, past[:, past.shape[1] - (known - 1) :]

    def _check(self, latents: Float32, past_actions: Float32, actions: Float32) -> int:
        """How many latents of the history are used.

        Raises:
            ModelError: shapes that do not fit the model.
        """
        size, width, horizon = self._layout.size, self._manifest.action_size, actions.shape[1]
        known = min(int(latents.shape[-2]), self._context)
        if known == 0 or latents.shape[-1] != size or actions.shape[2:] != (width,):
            raise ModelError(
                f"predictor: latents {list(latents.shape)} and actions {list(actions.shape)} do not fit "
                f"[T, {size}] and [B, H, {width}]"
            )
        if any(past.ndim == 3 and len(past) != len(actions) for past in (latents, past_actions)):
            raise ModelError(
                f"predictor: {len(actions)} candidates need one history or {len(actions)}, got latents "
                f"{list(latents.shape)} and past actions {list(past_actions.shape)}"
            )
        if past_actions.shape[-2] < known - 1:
            raise ModelError(
                f"predictor: {known} latents need {known - 1} actions between them, got {past_actions.shape[-2]}"
            )
        if not self._sliding:
            known = min(known, self._context - horizon + 1)
            if known < 1:
                raise ModelError(
                    f"predictor: it does not slide, so a plan has at most {self._context} steps, not {horizon}; set "
                    "the planner's horizon"
                )
        return known

    def _roll(self, latents: Float32, past: Float32, actions: Float32, predicted: Float32) -> None:
        """Fill `predicted` `[B, H, D]` from histories `[B, known, D]` and `[B, known − 1, A]`."""
        step, known = self._step(len(actions)), latents.shape[1]
        # Where the history's last step stands: a sequence is padded behind it, anything else in front, at rest.
        now = known - 1 if self._sequence else self._context - 1
        begin = now - known + 1
        step.action[:] = 0.0
        step.action[:, begin:now] = past
        for context, place in zip(step.context, self._taken, strict=True):
            context[:, :begin] = latents[:, :1, place]
            context[:, begin : now + 1] = latents[..., place]
            context[:, now + 1 :] = 0.0  # what lies there must be a number, although it is masked
        for h in range(actions.shape[1]):
            step.action[:, now] = actions[:, h]
            step.run()
            for following, place in zip(step.following, self._given, strict=True):
                predicted[:, h, place] = following[:, now] if self._sequence else following
            if now < self._context - 1:
                now += 1
            else:
                for context in step.context:
                    context[:, :-1] = context[:, 1:]
                step.action[:, :-1] = step.action[:, 1:]
            for context, place in zip(step.context, self._taken, strict=True):
                context[:, now] = predicted[:, h, place]

    def _step(self, batch: int) -> _Step:
        """Buffers for a batch size, made at its first use; only the last few sizes are kept."""
        if batch not in self._steps:
            if len(self._steps) >= _MOST_BATCHES:
                self._steps.pop(next(iter(self._steps)))
            layout, time = self._layout, [self._context]
            inputs = {t.name: np.zeros((batch, *time, *t.shape), np.float32) for t in layout.taken}
            outputs = {
                self._manifest.next_name(t): np.zeros((batch, *(time if self._sequence else []), *t.shape), np.float32)
                for t in layout.all
            }
            action = np.zeros((batch, *time, self._manifest.action_size), np.float32)
            run = self._session.bind({**inputs, "action": action}, dict(outputs))
            flat = [batch, *time, -1]
            self._steps[batch] = _Step(
                context=[array.reshape(flat) for array in inputs.values()],
                action=action,
                following=[array.reshape(flat if self._sequence else [batch, -1]) for array in outputs.values()],
                run=run,
            )
        return self._steps[batch]


def _filled_up(array: Float32, missing: int) -> Float32:
    """With the last row as often again."""
    return np.concatenate([array, np.repeat(array[-1:], missing, axis=0)])
