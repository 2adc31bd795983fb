"""A bundle's graphs behind the `WorldModel` protocol: encode images, roll actions forward, ask heads."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jepa_ros.bundle.loader import ENCODER, GOLDEN, PREDICTOR, Bundle
from jepa_ros.bundle.manifest import Manifest
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


@dataclass(frozen=True)
class _Golden:
    """A graph, and the names that golden.npz has for each of its inputs and for its expected output."""

    what: str
    session: Session
    inputs: dict[str, str]
    output: str
    expected: str


class OnnxWorldModel:
    """Encoder, predictor and heads of a bundle on ONNX Runtime.

    Buffers are made once for each batch size and reused; an instance is for one thread.

    Args:
        bundle: an opened bundle whose whole state is one latent vector.
        threads: for one operator.
        providers: execution providers by name; None takes the best installed.

    Raises:
        BundleError: something in the manifest that this version does not run, by field, or golden values that are
            missing or out of tolerance.
        ModelError: a graph cannot be opened.
    """

    def __init__(self, bundle: Bundle, threads: int = 1, providers: tuple[str, ...] | None = None) -> None:
        manifest = bundle.manifest
        _refuse_what_is_not_run(manifest)
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
        """Frame uint8 `[h, w, channels]` at the native size, as `Preprocessor` makes it → latent `[D]`.

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
        """Frames uint8 `[N, h, w, channels]` → latents `[N, D]`."""
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
        """Compare every graph with the outputs that the original model gave for the same inputs.

        Raises:
            BundleError: a golden value is missing, empty or none that the graphs take, or an output is further off than
                the manifest's tolerance for this provider.
        """
        golden, where = self.bundle.golden(), f"bundle {self.manifest.name}: {GOLDEN}"
        pairs = [
            _Golden("latent", self._encoder, {"image": "image"}, "latent", "latent"),
            _Golden("next", self._predictor, {"latent": "context", "action": "action"}, "next", "next"),
        ]
        for name, spec in self.manifest.heads.items():
            inputs: dict[str, str] = {part: f"head_{name}_{part}" for part in spec.inputs}
            pairs.append(_Golden(f"head {name}", self._heads[name], inputs, spec.output, f"head_{name}_output"))
        needed = sorted({key for pair in pairs for key in (*pair.inputs.values(), pair.expected)})
        if missing := [key for key in needed if key not in golden]:
            raise BundleError(f"{where} lacks {', '.join(missing)}; export the bundle again")
        if empty := [key for key in needed if golden[key].size == 0 or golden[key].dtype.kind not in "fiu"]:
            raise BundleError(f"{where} has no numbers in {', '.join(empty)}; export the bundle again")
        tolerances = self.manifest.calibration.tolerance
        tolerance = tolerances.get(f"{self.provider}:fp32", max(tolerances.values(), default=1e-4))
        for pair in pairs:
            try:
                found = pair.session.run(**{part: golden[key] for part, key in pair.inputs.items()})[pair.output]
            except ModelError as error:
                raise BundleError(f"{where} has inputs that a graph does not take ({error})") from error
            off = relative_error(found, golden[pair.expected])
            if not off <= tolerance:
                raise BundleError(
                    f"bundle {self.manifest.name}: {pair.what} is off its golden value by {off:.1e} on "
                    f"{self.provider}, more than {tolerance:.1e}; export it again or raise calibration.tolerance"
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


def _refuse_what_is_not_run(manifest: Manifest) -> None:
    """Refuse a manifest that asks for other numbers than this version computes.

    Raises:
        BundleError: naming the field.
    """
    where = f"bundle {manifest.name}"
    camera, timing, action, predictor = manifest.camera, manifest.timing, manifest.action, manifest.predictor
    if len(manifest.state) != 1 or manifest.state[0].kind != "vector" or len(manifest.state[0].shape) != 1:
        kinds = ", ".join(f"{state.name} ({state.kind}) {list(state.shape)}" for state in manifest.state)
        raise BundleError(f"{where}: state is {kinds}, this version runs only a single latent vector [D]")
    only: tuple[tuple[str, object, object], ...] = (
        ("camera.frame_stack", camera.frame_stack, 1),
        ("camera.frame_repeat", camera.frame_repeat, 1),
        ("timing.frame_skip", timing.frame_skip, 1),
        ("action.block", action.block, 1),
        ("action.delta", action.delta, False),
        ("predictor.sliding", predictor.sliding, True),
        ("predictor.output", predictor.output, "last"),
    )
    for field, given, runs in only:
        if given != runs:
            raise BundleError(f"{where}: {field} is {given}, this version runs only {runs}; export the model so")
    if camera.channels == 2:
        raise BundleError(f"{where}: camera.channels is 2, this version makes 3 (RGB) or 1 (grey); export the model so")
    if camera.antialias and camera.interpolation in ("linear", "cubic"):
        raise BundleError(
            f"{where}: camera.antialias is true and camera.interpolation is {camera.interpolation}, this version "
            "averages with area only; set interpolation to area, or antialias to false if the model saw images made so"
        )
    for name, head in manifest.heads.items():
        if "action" in head.inputs:
            raise BundleError(f"{where}: heads.{name}.inputs has action, this version runs heads on latent and goal")


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
