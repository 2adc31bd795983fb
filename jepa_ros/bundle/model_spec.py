"""The parts of `manifest.yaml` that say what the model takes and gives: camera, timing, state, action, predictor."""

from __future__ import annotations

import math
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

# No model comes near these; buffers are made by these numbers, so that a wrong one must not take all memory.
MOST_STEPS, MOST_ROWS, MOST_VALUES = 4096, 2**20, 2**26

# Names that graphs and golden.npz have for something else.
_TAKEN = ("action", "image", "measured", "goal", "noise", "next", "context")
_TAKEN_PREFIXES = ("next_", "context_", "head_", "cotangent_", "grad_", "step_")


class Strict(BaseModel):
    """A block of the manifest: fields that are unknown or not finite are refused, and what is read stays as it is."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Mount(Strict):
    """Where the training camera sat, from base_link: metres, and rad nose-down."""

    x: float = 0.0
    y: float = 0.0
    z: float = 0.0
    pitch: float = 0.0


class CameraSpec(Strict):
    """Which camera, and how its image becomes the encoder's input. Pixels stay uint8; scaling is inside the encoder.

    Attributes:
        name: topic prefix of the camera.
        crop: shares of the image cut from top, bottom, left and right, before resizing.
        width, height: what the encoder takes.
        channels: 3 for RGB, 1 for grey; 2 where frames are made by something other than a camera.
        resize: `stretch` to the size; `center_crop` to its shape and resize; `letterbox` with black borders;
            `resize_center_crop`: the shorter side to `resize_to`, then the middle part of the size.
        resize_to: pixels, for `resize_center_crop` only.
        interpolation: of the resize; `area` averages when it makes smaller, `nearest` never does.
        antialias: whether `linear` and `cubic` average when they make smaller; the other two it does not concern.
        frame_stack: frames that one latent is made of, one model step apart, oldest first. A frame that the encoder
            takes several times, it repeats itself.
        horizontal_fov_rad: of the training camera after the crop; None where it is not known.
        fov_tolerance_rad: a camera further off is warned about; one more than three times further is refused.
    """

    name: str = "camera"
    crop: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    width: int = Field(gt=0, le=8192)
    height: int = Field(gt=0, le=8192)
    channels: Literal[1, 2, 3] = 3
    resize: Literal["stretch", "letterbox", "center_crop", "resize_center_crop"] = "stretch"
    resize_to: int | None = Field(default=None, gt=0, le=8192)
    interpolation: Literal["area", "linear", "cubic", "nearest"] = "area"
    antialias: bool = True
    frame_stack: int = Field(default=1, ge=1, le=256)
    horizontal_fov_rad: float | None = Field(default=None, gt=0, lt=3.2)
    fov_tolerance_rad: float = Field(default=0.1, gt=0)
    mount: Mount = Mount()

    @field_validator("crop")
    @classmethod
    def _leaves_something(cls, crop: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
        top, bottom, left, right = crop
        if min(crop) < 0 or top + bottom >= 1 or left + right >= 1:
            raise ValueError("shares must not be negative and must leave something of the image")
        return crop

    @model_validator(mode="after")
    def _resize_to_goes_with_its_mode(self) -> CameraSpec:
        if (self.resize == "resize_center_crop") != (self.resize_to is not None):
            raise ValueError("resize_to must be given for resize_center_crop, and for nothing else")
        if self.resize_to is not None and self.resize_to < max(self.width, self.height):
            raise ValueError(f"resize_to must be at least {max(self.width, self.height)}, the size that is cropped")
        return self


class Timing(Strict):
    """Model time. `warm_up` says what to do while there are fewer than `history_min` latents.

    `step_s` is the whole model step; `frame_skip` is the training data's frames in one.
    """

    step_s: float = Field(gt=0)
    frame_skip: int = Field(default=1, ge=1)
    history_min: int = Field(default=1, ge=1, le=MOST_STEPS)
    history_max: int = Field(default=1, ge=1, le=MOST_STEPS)
    warm_up: Literal["grow", "pad", "require"] = "pad"

    @model_validator(mode="after")
    def _in_order(self) -> Timing:
        if self.history_min > self.history_max:
            raise ValueError("history_min must not be above history_max")
        return self


class StateTensor(Strict):
    """One tensor of the model's state: its shape without batch and time.

    Attributes:
        name: of the encoder's output and the predictor's input; the predictor's output is `next` where the state is
            this tensor alone, and else `next_NAME`.
        kind: `vector` `[D]`, `tokens` `[N, D]` or `map` `[C, h, w]`.
        grid: rows and columns that the tokens of kind `tokens` lie in, row by row; None where they lie in none.
        role: `latent` and `proprio` are encoded and predicted; an `outcome`, such as a reward, is only predicted: the
            encoder does not give it and the predictor does not take it.
    """

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    kind: Literal["vector", "tokens", "map"]
    shape: tuple[int, ...] = Field(min_length=1)
    role: Literal["latent", "proprio", "outcome"] = "latent"
    grid: tuple[int, int] | None = None

    @property
    def token_grid(self) -> tuple[int, int] | None:
        """Rows and columns of the tokens, or of a map's places; None where there is no grid."""
        return (self.shape[1], self.shape[2]) if self.kind == "map" else self.grid

    @model_validator(mode="after")
    def _shape_is_of_its_kind(self) -> StateTensor:
        axes = {"vector": 1, "tokens": 2, "map": 3}[self.kind]
        if math.prod(self.shape) > MOST_VALUES:
            raise ValueError(f"shape of {self.name} must hold {MOST_VALUES} values at most")
        if len(self.shape) != axes or min(self.shape) < 1:
            raise ValueError(f"shape of {self.name} must be {axes} sizes of at least 1 for kind {self.kind}")
        if self.grid is not None and (self.kind != "tokens" or self._grid_is_wrong(self.grid)):
            raise ValueError(f"grid of {self.name} is for kind tokens; rows x columns must be its number of tokens")
        if self.name in _TAKEN or self.name.startswith(_TAKEN_PREFIXES):
            raise ValueError(f"a state tensor cannot be named {self.name}")
        return self

    def _grid_is_wrong(self, grid: tuple[int, int]) -> bool:
        return min(grid) < 1 or grid[0] * grid[1] != self.shape[0]


class ProprioSpec(Strict):
    """What the encoder takes beside the image, as its input `measured` `[N, P]` in the units named.

    `names`, `units`: one entry a component. Scaling is inside the encoder.
    """

    names: list[str] = Field(min_length=1)
    units: list[str]

    @model_validator(mode="after")
    def _one_unit_a_name(self) -> ProprioSpec:
        if len(self.units) != len(self.names) or len(set(self.names)) != len(self.names):
            raise ValueError(f"needs one unit for each of {', '.join(self.names)}, which must differ")
        return self


class ActionSpec(Strict):
    """The action of one model step, in the units named.

    Attributes:
        names, units: one entry a component.
        block: environment actions that one model step holds.
        low, high: bounds a component; norm_limit: greatest Euclidean norm, None for none.
        fixed: components that planning leaves at a value within their bounds.
        delta: whether the action is a change of the state rather than a target or a rate.
        frame: in which the action is expressed.
    """

    names: list[str] = Field(min_length=1)
    units: list[str]
    block: int = Field(default=1, ge=1, le=MOST_STEPS)
    low: list[float]
    high: list[float]
    norm_limit: float | None = Field(default=None, gt=0)
    fixed: dict[str, float] = {}
    delta: bool = False
    frame: str = "base_link"

    @model_validator(mode="after")
    def _one_entry_a_component(self) -> ActionSpec:
        for field in ("units", "low", "high"):
            if len(getattr(self, field)) != len(self.names):
                raise ValueError(
                    f"{field} must have {len(self.names)} entries, one for each of {', '.join(self.names)}"
                )
        if len(set(self.names)) != len(self.names):
            raise ValueError("names must differ from one another")
        for name, low, high in zip(self.names, self.low, self.high, strict=True):
            if not low < high and name not in self.fixed:
                raise ValueError(f"low must be below high for {name}, or fix it")
            if not low <= self.fixed.get(name, low) <= high:
                raise ValueError(
                    f"fixed {name} is {self.fixed[name]:g}, outside its bounds {low:g} to {high:g}; widen low and high"
                )
        if unknown := set(self.fixed) - set(self.names):
            raise ValueError(f"fixed names {', '.join(sorted(unknown))}, which is no component")
        return self


class CacheSpec(Strict):
    """What a causal predictor keeps of steps that it has seen, so that only new ones are computed: two graphs beside
    it, `predictor_condition.onnx` and `predictor_step.onnx` (see `signatures`).

    Attributes:
        layers: that keep keys and values. width: W of either, all heads together.
        condition: C, values that a step's action is made into.
    """

    layers: int = Field(ge=1, le=1024)
    width: int = Field(ge=1, le=MOST_VALUES)
    condition: int = Field(ge=1, le=MOST_VALUES)


class PredictorSpec(Strict):
    """How the predictor takes its context of `max_context` model steps.

    Attributes:
        causal: whether what it says of a step depends on that step and those before it only.
        max_context: T of its inputs `[B, T, …]`.
        sliding: whether it can go on past `max_context` by dropping the oldest; if not, a plan ends there.
        output: `last`: it gives the state after the context, `[B, …]`; a shorter history is padded in front, by its
            oldest latent at rest. `sequence`: it gives the state after each step, `[B, T, …]`; it must be causal, and
            a shorter history is padded behind and read at its last step, so it is as if T were that short.
        batch: rows B that predictor, derivative and heads take, no more and no fewer, beside an encoder that takes one
            image; None where every graph takes any number.
        cache: of the incremental predictor; None where there is none. It needs `output` sequence and a free batch.
    """

    causal: bool = False
    max_context: int = Field(ge=1, le=MOST_STEPS)
    sliding: bool = True
    output: Literal["last", "sequence"] = "last"
    batch: int | None = Field(default=None, ge=1, le=MOST_ROWS)
    cache: CacheSpec | None = None

    @model_validator(mode="after")
    def _a_sequence_is_causal(self) -> PredictorSpec:
        if self.output == "sequence" and not self.causal:
            raise ValueError("output sequence needs causal: true; padding would be seen otherwise")
        if self.cache is not None and (self.output != "sequence" or self.batch is not None):
            raise ValueError("cache needs output sequence and a batch that is free")
        return self
