"""A bundle's graphs behind the `WorldModel` protocol: encode images, roll actions forward, ask heads."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from jepa_ros.bundle.layout import StateLayout
from jepa_ros.bundle.loader import ENCODER, PREDICTOR, Bundle
from jepa_ros.errors import ModelError
from jepa_ros.golden import check_golden
from jepa_ros.prediction import Predictor
from jepa_ros.runtime import Session
from jepa_ros.types import Float32, UInt8


class OnnxWorldModel:
    """Encoder, predictor and heads of a bundle on ONNX Runtime.

    A latent is one vector `[D]`: the state's tensors flat and end to end, as `layout` says. Buffers are made once and
    reused; an instance is for one thread.

    Args:
        bundle: an opened bundle.
        threads: for one operator.
        providers: execution providers by name; None takes the best installed.

    Raises:
        BundleError: golden values that are missing or out of tolerance.
        ModelError: a graph cannot be opened.
    """

    def __init__(self, bundle: Bundle, threads: int = 1, providers: tuple[str, ...] | None = None) -> None:
        manifest = bundle.manifest
        self.bundle, self.manifest = bundle, manifest
        self.layout = StateLayout(manifest.state)
        self.latent_dim, self.action_dim = self.layout.size, manifest.action_size
        self.context = manifest.predictor.max_context
        self._encoder = Session(bundle.file(ENCODER), threads, providers)
        predictor = Session(bundle.file(PREDICTOR), threads, providers)
        self._heads = {
            name: Session(bundle.file(head.file), threads, providers) for name, head in manifest.heads.items()
        }
        self.provider: str = predictor.provider
        self._predictor = Predictor(manifest, self.layout, predictor)
        camera, stack = manifest.camera, manifest.camera.frame_stack
        shape = (camera.height, camera.width, camera.channels)
        self._image = np.zeros((1, *((stack,) if stack > 1 else ()), *shape), np.uint8)
        self._measured = np.zeros((1, len(manifest.proprio.names) if manifest.proprio else 0), np.float32)
        inputs: dict[str, NDArray[np.generic]] = {"image": self._image}
        if manifest.proprio:
            inputs["measured"] = self._measured
        encoded = {tensor.name: np.zeros((1, *tensor.shape), np.float32) for tensor in self.layout.taken}
        self._encoded = [(self.layout.place(name), array.reshape(-1)) for name, array in encoded.items()]
        self._encode_one = self._encoder.bind(inputs, dict(encoded))
        files = {head.file: self._heads[name] for name, head in manifest.heads.items()}
        check_golden(bundle, {ENCODER: self._encoder, PREDICTOR: predictor, **files})

    def encode(self, frame: UInt8, measured: Float32 | None = None) -> Float32:
        """Frame uint8 `[h, w, channels]` at the native size, as `Preprocessor` makes it → latent `[D]`.

        Args:
            frame: for a bundle with a stack of S frames `[S, h, w, channels]`, oldest first.
            measured: `[P]` what the manifest's `proprio` names, in its units.

        Raises:
            ModelError: a frame or measurement of another size, or a latent that is not a number.
        """
        if frame.shape != self._image.shape[1:] or frame.dtype != np.uint8:
            raise ModelError(
                f"encoder: takes uint8 {list(self._image.shape[1:])}, not {frame.dtype} {list(frame.shape)}"
            )
        self._image[0] = frame
        self._measured[0] = self._checked(measured)
        self._encode_one()
        latent = np.zeros(self.latent_dim, np.float32)
        for place, values in self._encoded:
            latent[place] = values
        return _finite(latent, "the encoder returned")

    def encode_goal(self, image: UInt8, measured: Float32 | None = None) -> Float32:
        """One image `[h, w, channels]` as if the robot stood there, seeing it in every frame of a stack → `[D]`."""
        stack = self.manifest.camera.frame_stack
        return self.encode(np.repeat(image[None], stack, axis=0) if stack > 1 else image, measured)

    def encode_batch(self, frames: UInt8, measured: Float32 | None = None) -> Float32:
        """Frames uint8 `[N, h, w, channels]` (or `[N, S, …]`) and measurements `[N, P]` → latents `[N, D]`."""
        inputs: dict[str, NDArray[np.generic]] = {"image": frames}
        if measured is not None:
            inputs["measured"] = measured
        found = self._encoder.run(**inputs)
        latents = np.zeros((len(frames), self.latent_dim), np.float32)
        for tensor in self.layout.taken:
            latents[:, self.layout.place(tensor.name)] = found[tensor.name].reshape(len(frames), -1)
        return _finite(latents, "the encoder returned")

    def rollout(self, latents: Float32, past_actions: Float32, actions: Float32) -> Float32:
        """Predict with predictions fed back; past `max_context` the context slides.

        Args:
            latents: `[T, D]`, oldest first, or `[B, T, D]`; only the newest `max_context` are used. What a shorter
                history is filled with, `PredictorSpec.output` says.
            past_actions: `[T − 1, A]` or `[B, T − 1, A]`; row t was applied from latent t to latent t + 1.
            actions: `[B, H, A]`, in the manifest's units.

        Returns:
            `[B, H, D]`, a new array. Values that are not numbers are passed on: the planner ranks them last.

        Raises:
            ModelError: shapes that do not fit the model, or more steps than a predictor that does not slide can take.
        """
        return self._predictor.rollout(latents, past_actions, actions)

    def head(self, name: str, latents: Float32, goal: Float32) -> Float32:
        """A value head's output `[B]` for latents `[B, D]`; a goal `[D]` is handed to every row.

        Raises:
            ModelError: the bundle has no such head.
        """
        return self._ask(name, "value", latents, {"goal": goal})

    def policy(self, latents: Float32, noise: Float32) -> Float32:
        """What the bundle's policy head would do: latents `[B, D]` and standard normal noise `[B, A]` → `[B, A]`.

        Raises:
            ModelError: the bundle has no policy.
        """
        names = [name for name, head in self.manifest.heads.items() if head.kind == "policy"]
        return self._ask(names[0] if names else "policy", "policy", latents, {"noise": noise})

    @property
    def has_policy(self) -> bool:
        """Whether the bundle has a policy head."""
        return any(head.kind == "policy" for head in self.manifest.heads.values())

    def _ask(self, name: str, kind: str, latents: Float32, others: dict[str, Float32]) -> Float32:
        spec = self.manifest.heads.get(name)
        if spec is None or spec.kind != kind:
            known = ", ".join(n for n, head in self.manifest.heads.items() if head.kind == kind) or "none"
            raise ModelError(f"bundle {self.manifest.name}: no {kind} head is named {name!r}; it has {known}")
        judged, shape = self.layout.latent.name, (len(latents), *self.layout.latent.shape)
        inputs: dict[str, NDArray[np.generic]] = {}
        for part in spec.inputs:
            if part == "noise":
                inputs[part] = others[part]
                continue
            given = self.layout.part(latents if part == "latent" else others[part], judged)
            flat = np.broadcast_to(given, (len(latents), given.shape[-1]))
            inputs[part] = np.ascontiguousarray(flat, np.float32).reshape(shape)
        return np.asarray(self._heads[name].run(**inputs)[spec.output], np.float32)

    def _checked(self, measured: Float32 | None) -> Float32:
        """A measurement of the right size; none where none is taken."""
        given = np.zeros(0, np.float32) if measured is None else np.asarray(measured, np.float32)
        if given.shape != self._measured.shape[1:] or not np.isfinite(given).all():
            names = ", ".join(self.manifest.proprio.names) if self.manifest.proprio else "nothing"
            raise ModelError(
                f"encoder: takes {self._measured.shape[1]} finite measurements ({names}), got {list(given.shape)}"
            )
        return given


def _finite(array: Float32, what: str) -> Float32:
    if not np.isfinite(array).all():
        raise ModelError(f"{what} a value that is not a number")
    return array
