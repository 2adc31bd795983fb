"""A bundle's graphs behind the `WorldModel` protocol: encode images, roll actions forward, ask heads."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from jepa_ros.bundle.layout import StateLayout
from jepa_ros.bundle.loader import ENCODER, PREDICTOR, PREDICTOR_VJP, Bundle
from jepa_ros.bundle.manifest import Head
from jepa_ros.bundle.signatures import PREDICTOR_CONDITION, PREDICTOR_STEP
from jepa_ros.errors import ModelError
from jepa_ros.golden import check_golden
from jepa_ros.prediction import Predictor
from jepa_ros.prediction_vjp import PredictorDerivative
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
        self.threads, self.providers = threads, providers
        self._derivative: PredictorDerivative | None = None
        self._head_gradients: dict[str, Session] = {}
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
        found = self._encoder.run_rows(**inputs)
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

    @property
    def has_derivative(self) -> bool:
        """Whether the bundle has the predictor's derivative, which `pullback` needs."""
        return PREDICTOR_VJP in self.manifest.files

    def open_derivatives(self) -> None:
        """Open the derivatives of the predictor and the heads that have one, which else their first use does.

        They are left closed until they are needed: each has its graph's weights once more.

        Raises:
            BundleError: golden values that are missing or out of tolerance.
            ModelError: the bundle has no derivative of its predictor, or a graph cannot be opened.
        """
        self._opened_derivative()

    def check_derivatives(self) -> None:
        """Hold the derivatives against their golden values and close them again: a plan graph has its own.

        Raises:
            BundleError, ModelError: as `open_derivatives`.
        """
        if self._derivative is None:
            self._derivative_session()
            for head in self.manifest.heads.values():
                if head.gradient is not None:
                    self._checked_session(head.gradient)

    def check_steps(self) -> None:
        """Hold the graphs of a predictor that keeps keys and values against their golden values and close them again:
        plan graphs have them inside, and nothing else runs them.

        Raises:
            BundleError, ModelError: as `open_derivatives`; nothing where the bundle has no such graphs.
        """
        for file in (PREDICTOR_CONDITION, PREDICTOR_STEP):
            if file in self.manifest.files:
                self._checked_session(file)

    def pullback(
        self, latents: Float32, past_actions: Float32, actions: Float32, predicted: Float32, cotangent: Float32
    ) -> Float32:
        """d quantity / d actions `[B, H, A]` from d quantity / d predicted latents `[B, H, D]`; see
        `DifferentiableModel`.

        Raises:
            BundleError, ModelError: as `open_derivatives`; shapes that do not fit the model or each other.
        """
        return self._opened_derivative().pullback(latents, past_actions, actions, predicted, cotangent)

    def head(self, name: str, latents: Float32, goal: Float32 | None) -> Float32:
        """A value head's output `[B]` for latents `[B, D]`; a goal `[D]` is handed to every row.

        Raises:
            ModelError: the bundle has no such head, or the head judges by a goal and there is none.
        """
        return self._ask(name, "value", latents, {} if goal is None else {"goal": goal})

    def head_gradient(self, name: str, latents: Float32, goal: Float32 | None, cotangent: Float32) -> Float32:
        """What a value head's output `[B]`, weighed by a cotangent `[B]`, changes by with latents `[B, D]` → `[B, D]`,
        zero outside the latent tensor that it judges.

        Raises:
            BundleError: golden values that are missing or out of tolerance.
            ModelError: the bundle has no such head, the head has no gradient, or it judges by a goal and there is none.
        """
        spec, inputs = self._head_inputs(name, "value", latents, {} if goal is None else {"goal": goal})
        if spec.gradient is None:
            raise ModelError(
                f"bundle {self.manifest.name}: head {name!r} has no gradient, which planning by gradients needs; "
                "export it again with its derivative"
            )
        session = self._head_gradient_session(name, spec.gradient)
        given = session.run_rows(**inputs, cotangent=np.ascontiguousarray(cotangent, np.float32))["grad_latent"]
        found = np.zeros((len(latents), self.latent_dim), np.float32)
        found[:, self.layout.place(self.layout.latent.name)] = given.reshape(len(latents), -1)
        return found

    def _opened_derivative(self) -> PredictorDerivative:
        if self._derivative is None:
            session = self._derivative_session()
            for name, head in self.manifest.heads.items():
                if head.gradient is not None:
                    self._head_gradient_session(name, head.gradient)
            self._derivative = PredictorDerivative(self.manifest, self.layout, session, self._predictor)
        return self._derivative

    def _derivative_session(self) -> Session:
        """The predictor's derivative, checked."""
        if not self.has_derivative:
            raise ModelError(
                f"bundle {self.manifest.name}: it has no {PREDICTOR_VJP}, which planning by gradients needs; "
                "export it again with its derivative"
            )
        return self._checked_session(PREDICTOR_VJP)

    def _head_gradient_session(self, name: str, file: str) -> Session:
        if name not in self._head_gradients:
            self._head_gradients[name] = self._checked_session(file)
        return self._head_gradients[name]

    def _checked_session(self, file: str) -> Session:
        session = Session(self.bundle.file(file), self.threads, self.providers)
        check_golden(self.bundle, {file: session})
        return session

    def policy(self, latents: Float32, noise: Float32, goal: Float32 | None = None) -> Float32:
        """What the bundle's policy head would do: latents `[B, D]`, standard normal noise `[B, A]` → actions `[B, A]`.

        A goal `[D]` is handed to every row of one that acts by it.

        Raises:
            ModelError: the bundle has no policy, or it acts by a goal and there is none.
        """
        name = next((name for name, head in self.manifest.heads.items() if head.kind == "policy"), "policy")
        others = {"noise": noise} if goal is None else {"noise": noise, "goal": goal}
        return self._ask(name, "policy", latents, others)

    @property
    def has_policy(self) -> bool:
        """Whether the bundle has a policy head."""
        return any(head.kind == "policy" for head in self.manifest.heads.values())

    @property
    def policy_needs_goal(self) -> bool:
        """Whether its policy acts by a goal."""
        return next(("goal" in head.inputs for head in self.manifest.heads.values() if head.kind == "policy"), False)

    def _ask(self, name: str, kind: str, latents: Float32, others: dict[str, Float32]) -> Float32:
        spec, inputs = self._head_inputs(name, kind, latents, others)
        return np.asarray(self._heads[name].run_rows(**inputs)[spec.output], np.float32)

    def _head_inputs(
        self, name: str, kind: str, latents: Float32, others: dict[str, Float32]
    ) -> tuple[Head, dict[str, NDArray[np.generic]]]:
        """A head, and what its graph takes, a row for each of the latents `[B, D]`."""
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
            if part == "goal" and part not in others:
                acts = "judges" if kind == "value" else "acts"
                raise ModelError(f"bundle {self.manifest.name}: head {name!r} {acts} by a goal; give it one")
            given = self.layout.part(latents if part == "latent" else others[part], judged)
            flat = np.broadcast_to(given, (len(latents), given.shape[-1]))
            inputs[part] = np.ascontiguousarray(flat, np.float32).reshape(shape)
        return spec, inputs

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
