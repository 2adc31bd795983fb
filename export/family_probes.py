"""On what a family's graphs are held against PyTorch: scenes and what they are encoded to, edges, and random values."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor

from jepa_ros.bundle.layout import StateLayout
from jepa_ros.bundle.manifest import Manifest
from jepa_ros.types import Float32, UInt8
from jepa_ros_export.family import Parts
from jepa_ros_export.graphs import as_tuple

Inputs = dict[str, Tensor]

_COARSE = 8  # pixels across a scene before it is blurred to the camera's size


@dataclass(frozen=True)
class ProbeMaker:
    """Draws inputs of every graph of a model.

    Args:
        parts: the model.
        rows: examples a group.
        rng: draws them.
    """

    parts: Parts
    rows: int
    rng: np.random.Generator

    def images(self) -> dict[str, Inputs]:
        """For the encoder: scenes (smooth, as a camera's), black and white, noise."""
        camera = self.manifest.camera
        stack = (camera.frame_stack,) if camera.frame_stack > 1 else ()
        shape = (*stack, camera.height, camera.width, camera.channels)
        flat = np.stack([np.zeros(shape, np.uint8), np.full(shape, 255, np.uint8)])
        noise = self.rng.integers(0, 256, (self.rows, *shape), dtype=np.uint8)
        return {
            "scene": self._seen(self._scenes(stack)),
            "edge": self._seen(flat),
            "random": self._seen(noise),
        }

    def contexts(self, images: dict[str, Inputs]) -> dict[str, Inputs]:
        """For the predictor: what scenes and noise are encoded to; zeros and both ends of that, at rest and at the ends
        of the actions' bounds; uniform within these."""
        layout, steps = StateLayout(self.manifest.state), self.manifest.predictor.max_context
        with torch.inference_mode():
            encoded = [as_tuple(self.parts.encoder(*images[group].values())) for group in ("scene", "random")]
        known = [torch.cat(pair).float().numpy() for pair in zip(*encoded, strict=True)]
        low, high, rest = bounds(self.manifest)
        pick = self.rng.integers(0, len(known[0]), (self.rows, steps))
        scene = [array[pick] for array in known]
        actions = self.rng.uniform(low, high, (self.rows, steps, len(low)))
        ends = [np.stack([np.zeros_like(a[0]), a.min(0), a.max(0)]) for a in known]
        edge = [np.repeat(array[:, None], steps, axis=1) for array in ends]
        limits = np.repeat(np.stack([rest, low, high])[:, None], steps, axis=1)
        spread = [self.rng.uniform(a.min(0), a.max(0), (self.rows, steps, *a.shape[1:])) for a in known]
        drawn = self.rng.uniform(low, high, (self.rows, steps, len(low)))
        names = [tensor.name for tensor in layout.taken]
        return {
            group: _tensors(**dict(zip(names, states, strict=True)), action=action)
            for group, states, action in (("scene", scene, actions), ("edge", edge, limits), ("random", spread, drawn))
        }

    def cotangents(self, outputs: dict[str, Float32]) -> Inputs:
        """Standard normal, one for each output of the predictor."""
        return _tensors(**{f"cotangent_{name}": self.rng.standard_normal(a.shape) for name, a in outputs.items()})

    def heads(self, name: str, contexts: dict[str, Inputs]) -> dict[str, Inputs]:
        """For a head: the last latent of each context, the first as goal, and noise."""
        latent, found = self.manifest.latent.name, {}
        for group, context in contexts.items():
            rows = len(context[latent])
            noise = self.rng.standard_normal((rows, self.manifest.action_size))
            given = {"latent": context[latent][:, -1], "goal": context[latent][:, 0], **_tensors(noise=noise)}
            found[group] = {part: given[part].contiguous() for part in self.manifest.heads[name].inputs}
        return found

    @property
    def manifest(self) -> Manifest:
        """Of the model."""
        return self.parts.manifest

    def _scenes(self, stack: tuple[int, ...]) -> UInt8:
        """Blurred random colours `[rows, (S,) h, w, c]`, each frame of a stack a little other than the last."""
        camera = self.manifest.camera
        scenes = np.empty((self.rows, *stack, camera.height, camera.width, camera.channels), np.uint8)
        for row in range(self.rows):
            coarse = self.rng.integers(0, 256, (_COARSE, _COARSE, camera.channels)).astype(np.float32)
            for frame in range(stack[0] if stack else 1):
                moved = cv2.resize(np.roll(coarse, frame, axis=1), (camera.width, camera.height))
                at = (row, frame) if stack else row
                scenes[at] = moved.reshape(camera.height, camera.width, camera.channels)
        return scenes

    def _seen(self, images: UInt8) -> Inputs:
        """With measurements beside them, where the encoder takes some."""
        inputs = {"image": torch.from_numpy(images)}
        if self.manifest.proprio is not None:
            size = len(self.manifest.proprio.names)
            inputs |= _tensors(measured=self.rng.uniform(-1, 1, (len(images), size)))
        return inputs


def bounds(manifest: Manifest) -> tuple[Float32, Float32, Float32]:
    """Low, high and resting action `[A]` of one model step."""
    action = manifest.action
    low = np.tile([action.fixed.get(n, v) for n, v in zip(action.names, action.low, strict=True)], action.block)
    high = np.tile([action.fixed.get(n, v) for n, v in zip(action.names, action.high, strict=True)], action.block)
    return low.astype(np.float32), high.astype(np.float32), np.clip(0, low, high).astype(np.float32)


def _tensors(**arrays: object) -> Inputs:
    return {name: torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32)) for name, array in arrays.items()}
