"""A bundle's graphs behind the `WorldModel` protocol: encode images, roll actions forward, ask heads."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jepa_ros.bundle.loader import ENCODER, PREDICTOR, Bundle
from jepa_ros.errors import BundleError, ModelError
from jepa_ros.runtime import BoundRun, Session
from jepa_ros.types import Float32, UInt8

_MOST_BATCHES = 8


@dataclass
class _Step:
    """The predictor tied to buffers of one batch size: context `[B, T, D]`, actions `[B, T, A]`, next `[B, D]`."""

    context: Float32
    action: Float32
    following: Float32
    run: BoundRun


class OnnxWorldModel:
    """Encoder, predictor and heads of a bundle on ONNX Runtime.

    Buffers are made once for each batch size and reused; an instance is for one thread.

    Args:
        bundle: an opened bundle with one latent vector as its whole state.
        threads: for one operator.
        providers: execution providers by name; None takes the best installed.

    Raises:
        BundleError: a state that this runtime does not run yet, or golden outputs out of tolerance.
        ModelError: a graph cannot be opened.
    """

    def __init__(self, bundle: Bundle, threads: int = 1, providers: tuple[str, ...] | None = None) -> None:
        manifest = bundle.manifest
        if len(manifest.state) != 1 or manifest.state[0].kind != "vector":
            kinds = ", ".join(f"{state.name} ({state.kind})" for state in manifest.state)
            raise BundleError(f"bundle {manifest.name}: its state is {kinds}; this version runs a single latent vector")
        if manifest.camera.frame_stack != 1 or manifest.action.block != 1:
            raise BundleError(f"bundle {manifest.name}: stacked frames and action blocks are not run by this version")
        self.bundle, self.manifest = bundle, manifest
        self.latent_dim, self.action_dim = manifest.latent.shape[0], len(manifest.action.names)
        self.context = manifest.predictor.max_context
        self._encoder = Session(bundle.file(ENCODER), threads, providers)
        self._predictor = Session(bundle.file(PREDICTOR), threads, providers)
        self._heads = {
            name: Session(bundle.file(head.file), threads, providers) for name, head in manifest.heads.items()
        }
        self._steps: dict[int, _Step] = {}
        self._image = np.zeros((1, manifest.camera.height, manifest.camera.width, manifest.camera.channels), np.uint8)
        self._latent = np.zeros((1, self.latent_dim), np.float32)
        self._encode_one = self._encoder.bind({"image": self._image}, {"latent": self._latent})
        self.check_golden()

    @property
    def provider(self) -> str:
        """The execution provider that the predictor runs on."""
        return self._predictor.provider

    def encode(self, frame: UInt8) -> Float32:
        """Frame uint8 RGB `[h, w, 3]` at the native size → latent `[D]`.

        Raises:
            ModelError: a frame of another size, or a latent that is not a number.
        """
        if frame.shape != self._image.shape[1:] or frame.dtype != np.uint8:
            raise ModelError(
                f"encoder: takes uint8 {list(self._image.shape[1:])}, not {frame.dtype} {list(frame.shape)}"
            )
        self._image[0] = frame
        self._encode_one()
        return _finite(self._latent[0].copy(), "the encoder returned")

    def encode_batch(self, frames: UInt8) -> Float32:
        """Frames uint8 `[N, h, w, 3]` → latents `[N, D]`."""
        return _finite(np.asarray(self._encoder.run(image=frames)["latent"], np.float32), "the encoder returned")

    def predict(self, context: Float32, action: Float32) -> Float32:
        """One prediction: latents `[B, T, D]` and actions `[B, T, A]` → next latents `[B, D]`; T is the full
        context."""
        step = self._step(len(context))
        step.context[:], step.action[:] = context, action
        step.run()
        return step.following.copy()

    def rollout(self, latents: Float32, past_actions: Float32, actions: Float32) -> Float32:
        """Predict with predictions fed back, the context sliding.

        Args:
            latents: `[T, D]`, oldest first; a shorter history is filled by repeating the oldest, at rest (zero action).
            past_actions: `[T − 1, A]`; row t was applied from latent t to latent t + 1.
            actions: `[B, H, A]`, in the manifest's units.

        Returns:
            `[B, H, D]`, a new array. Values that are not numbers are passed on: the planner ranks them last.

        Raises:
            ModelError: shapes that do not fit the model.
        """
        batch, horizon = actions.shape[:2]
        known = min(len(latents), self.context)
        if known == 0 or latents.shape[1:] != (self.latent_dim,) or actions.shape[2:] != (self.action_dim,):
            raise ModelError(
                f"predictor: latents {list(latents.shape)} and actions {list(actions.shape)} do not fit "
                f"[T, {self.latent_dim}] and [B, H, {self.action_dim}]"
            )
        if len(past_actions) < known - 1:
            raise ModelError(
                f"predictor: {known} latents need {known - 1} actions between them, got {len(past_actions)}"
            )
        step, missing = self._step(batch), self.context - known
        step.context[:, missing:] = latents[-known:]
        step.context[:, :missing] = latents[-known]
        step.action[:] = 0.0
        if known > 1:
            step.action[:, missing:-1] = past_actions[-(known - 1) :]
        predicted = np.empty((batch, horizon, self.latent_dim), np.float32)
        for h in range(horizon):
            step.action[:, -1] = actions[:, h]
            step.run()
            predicted[:, h] = step.following
            step.context[:, :-1] = step.context[:, 1:]
            step.context[:, -1] = step.following
            step.action[:, :-1] = step.action[:, 1:]
        return predicted

    def head(self, name: str, latents: Float32, goal: Float32) -> Float32:
        """A head's output `[B]` for latents `[B, D]`; a goal `[D]` is handed to every row.

        Raises:
            ModelError: the bundle has no such head.
        """
        if name not in self._heads:
            raise ModelError(
                f"bundle {self.manifest.name}: no head is named {name!r}; it has {', '.join(self._heads) or 'none'}"
            )
        spec = self.manifest.heads[name]
        inputs: dict[str, NDArray[np.generic]] = {"latent": latents}
        if "goal" in spec.inputs:
            inputs["goal"] = np.broadcast_to(goal, latents.shape).astype(np.float32)
        return np.asarray(self._heads[name].run(**inputs)[spec.output], np.float32)

    def check_golden(self) -> None:
        """Compare with the outputs that the original model gave for the same inputs.

        Raises:
            BundleError: an output is missing or further off than the manifest's tolerance for this provider.
        """
        golden = self.bundle.golden()
        key = f"{self.provider}:fp32"
        tolerances = self.manifest.calibration.tolerance
        tolerance = tolerances.get(key, max(tolerances.values(), default=1e-4))
        needed = {"image", "latent", "context", "action", "next"}
        if missing := needed - set(golden):
            raise BundleError(f"bundle {self.manifest.name}: golden.npz lacks {', '.join(sorted(missing))}")
        pairs = {
            "latent": (self._encoder.run(image=golden["image"])["latent"], golden["latent"]),
            "next": (self._predictor.run(latent=golden["context"], action=golden["action"])["next"], golden["next"]),
        }
        for name in self._heads:
            if f"head_{name}_output" in golden:
                spec = self.manifest.heads[name]
                given = {part: golden[f"head_{name}_{part}"] for part in spec.inputs}
                pairs[f"head {name}"] = (self._heads[name].run(**given)[spec.output], golden[f"head_{name}_output"])
        for name, (found, expected) in pairs.items():
            error = relative_error(np.asarray(found), np.asarray(expected))
            if not error <= tolerance:
                raise BundleError(
                    f"bundle {self.manifest.name}: {name} is off its golden value by {error:.1e} on {self.provider}, "
                    f"more than {tolerance:.1e}; export it again or raise calibration.tolerance"
                )

    def _step(self, batch: int) -> _Step:
        """Buffers for a batch size, made at its first use; only the last few sizes are kept."""
        if batch not in self._steps:
            if len(self._steps) >= _MOST_BATCHES:
                self._steps.pop(next(iter(self._steps)))
            context = np.zeros((batch, self.context, self.latent_dim), np.float32)
            action = np.zeros((batch, self.context, self.action_dim), np.float32)
            following = np.zeros((batch, self.latent_dim), np.float32)
            run = self._predictor.bind({"latent": context, "action": action}, {"next": following})
            self._steps[batch] = _Step(context, action, following, run)
        return self._steps[batch]


def relative_error(found: NDArray[np.generic], expected: NDArray[np.generic]) -> float:
    """Largest absolute difference over the root mean square of what is expected; infinite where shapes differ."""
    if found.shape != expected.shape:
        return float("inf")
    wide = expected.astype(np.float64)
    scale = float(np.sqrt(np.mean(wide**2))) or 1.0
    return float(np.max(np.abs(found.astype(np.float64) - wide))) / scale


def _finite(array: Float32, what: str) -> Float32:
    if not np.isfinite(array).all():
        raise ModelError(f"{what} a value that is not a number")
    return array
