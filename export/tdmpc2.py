"""TD-MPC2 from pixels (Hansen et al., arXiv 2310.16828): latent dynamics with a reward, values and a policy.

Names and shapes are those of `model.state_dict()` in github.com/nicklashansen/tdmpc2, since its first release with
pixels (December 2023) and since its Q functions are kept as a TensorDict (November 2024). Both were read there.
"""

from __future__ import annotations

import re
from typing import Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from jepa_ros.bundle.manifest import (
    ActionSpec,
    CostTerm,
    Head,
    Manifest,
    PlannerDefaults,
    PredictorSpec,
    StateTensor,
    Timing,
)
from jepa_ros.errors import BundleError
from jepa_ros_export.cameras import CAMERAS
from jepa_ros_export.checkpoint import fill, under
from jepa_ros_export.family import FamilyConfig, Parts, State, make_manifest
from jepa_ros_export.layers import Standardise
from jepa_ros_export.tdmpc2_layers import (
    FEATURE_CELLS,
    IMAGE_SIZE,
    Encoder,
    Policy,
    Predictor,
    SimNorm,
    TwoHot,
    Value,
    convolutions,
    mlp,
    stacked_mlp,
)

FAMILY = "tdmpc2"
MARKS = (r"_Qs\.params\.", r"_pi\.0\.ln\.weight", r"_encoder\.rgb\.2\.weight")

_JOINTS = ["right_hip", "right_knee", "right_ankle", "left_hip", "left_knee", "left_ankle"]
_PLAIN_PARTS = ("weight", "bias", "ln.weight", "ln.bias")
_UNUSED = re.compile(r"_(detach|target)_Qs|_Qs\.\d")
"""Copies that training needs, and the skeleton `_Qs.module`, which has no data; `under` drops its `module`."""


class Config(FamilyConfig):
    """The published settings (model size 5), for the task walker-walk of DMControl with two actions repeated.

    Attributes:
        action, action_mean, action_std: the model was trained with actions in −1 to 1. Without mean and std, these are
            `action.low` and `action.high`; where planning is to keep within narrower bounds, the mean is what 0 was in
            training, and the std what 1 was, less the mean.
        cost: empty is the original's return to go, see `return_to_go`.
        frame_stack: frames in one latent.
        num_channels: of each convolution; the latent has 16 times as many elements.
        mlp_dim: width of the hidden layers. simnorm_dim: elements in one simplex.
        num_q: members of the Q ensemble. value: what is made of them.
        num_bins, vmin, vmax: of the two-hot codes of rewards and values, bounds on the symlog scale.
        log_std_min, log_std_max: between which the policy's deviation is squashed; newer checkpoints say so themselves.
        episode_length: of training, in model steps. discount_denom, discount_min, discount_max: see `discount`.
    """

    licence: str = "MIT"
    source: str = "https://github.com/nicklashansen/tdmpc2"
    step_s: float = Field(default=0.05, gt=0)
    action: ActionSpec = ActionSpec(names=_JOINTS, units=["1"] * 6, low=[-1.0] * 6, high=[1.0] * 6)
    cost: list[CostTerm] = Field(default=[])
    planner: PlannerDefaults = PlannerDefaults(
        name="mppi",
        samples=512,
        iterations=6,
        elites=64,
        horizon=3,
        std=2.0,
        min_std=0.05,
        temperature=2.0,
        policy_samples=24,
    )
    frame_stack: int = Field(default=3, ge=1)
    num_channels: int = Field(default=32, ge=1)
    mlp_dim: int = Field(default=512, ge=1)
    simnorm_dim: int = Field(default=8, ge=1)
    num_q: int = Field(default=5, ge=1)
    value: Literal["average", "minimum"] = "average"
    num_bins: int = Field(default=101, ge=2)
    vmin: float = -10.0
    vmax: float = 10.0
    log_std_min: float = -10.0
    log_std_max: float = 2.0
    episode_length: int = Field(default=500, ge=1)
    discount_denom: float = Field(default=5.0, gt=0)
    discount_min: float = Field(default=0.95, gt=0, le=1)
    discount_max: float = Field(default=0.995, gt=0, le=1)

    @model_validator(mode="after")
    def _is_of_this_family(self) -> Config:
        size = len(self.action.names)
        if self.proprio is not None:
            raise ValueError("proprio: tdmpc2 sees images alone")
        if self.action.block != 1:
            raise ValueError("action.block: tdmpc2 repeats one action in a model step, so it must be 1")
        if (self.action_mean is None) != (self.action_std is None):
            raise ValueError("action_mean and action_std must be given together")
        if self.action_mean is None and any(
            not low < high for low, high in zip(self.action.low, self.action.high, strict=True)
        ):
            raise ValueError("action_mean and action_std must be given where a component's low is not below its high")
        for field in ("action_mean", "action_std"):
            given = getattr(self, field)
            if given is not None and len(given) != size:
                raise ValueError(f"{field} must have {size} entries, one for each of {', '.join(self.action.names)}")
        if self.latent_dim % self.simnorm_dim:
            raise ValueError(f"simnorm_dim must divide the latent's {self.latent_dim} elements, 16 a channel")
        return self

    @property
    def latent_dim(self) -> int:
        """D; for images it follows from the convolutions."""
        return FEATURE_CELLS * self.num_channels

    @property
    def discount(self) -> float:
        """γ of one model step: the longer an episode, the nearer to 1, within its bounds."""
        reach = self.episode_length / self.discount_denom
        return min(max((reach - 1.0) / reach, self.discount_min), self.discount_max)

    @property
    def scaling(self) -> tuple[list[float], list[float]]:
        """In the action's units, what 0 was in training and how much further 1 was."""
        if self.action_mean is not None and self.action_std is not None:
            return self.action_mean, self.action_std
        bounds = list(zip(self.action.low, self.action.high, strict=True))
        return [(low + high) / 2 for low, high in bounds], [(high - low) / 2 for low, high in bounds]


def tiny() -> Config:
    """A model of about 14,000 parameters, whose two actions have bounds unlike −1 to 1."""
    return Config(
        action=ActionSpec(names=["vx", "wz"], units=["m/s", "rad/s"], low=[-0.5, -1.0], high=[1.0, 1.0]),
        step_s=0.2,
        num_channels=2,
        mlp_dim=16,
        num_q=3,
    )


def return_to_go(discount: float) -> list[CostTerm]:
    """−(Σ γʰ rₕ + γᴴ V(z_H)), what the original's planner minimises (§3.2); no goal enters."""
    return [
        CostTerm(source="reward", metric="value", steps="sum", weight=-1.0, discount=discount),
        CostTerm(source="head:value", metric="value", steps="last", weight=-1.0, discount=discount),
    ]


def networks(config: Config) -> nn.ModuleDict:
    """Every network of the checkpoint, under its names there; `log_std_min` and `log_std_dif` are buffers."""
    latent, actions, hidden = config.latent_dim, len(config.action.names), config.mlp_dim
    parts = nn.ModuleDict(
        {
            "_encoder": nn.ModuleDict(
                {"rgb": convolutions(3 * config.frame_stack, config.num_channels, SimNorm(config.simnorm_dim))}
            ),
            "_dynamics": mlp(latent + actions, hidden, latent, SimNorm(config.simnorm_dim)),
            "_reward": mlp(latent + actions, hidden, config.num_bins),
            "_pi": mlp(latent, hidden, 2 * actions),
            "_Qs": nn.ModuleDict({"params": stacked_mlp(config.num_q, latent + actions, hidden, config.num_bins)}),
        }
    )
    parts.register_buffer("log_std_min", torch.tensor(config.log_std_min))
    parts.register_buffer("log_std_dif", torch.tensor(config.log_std_max - config.log_std_min))
    return parts


def random_checkpoint(config: Config) -> dict[str, Tensor]:
    """Weights under the names of the newer layout, without its copies of the Q functions, which nothing reads."""
    return {f"model.{name}": _draw(name, tensor) for name, tensor in networks(config).state_dict().items()}


def _draw(name: str, tensor: Tensor) -> Tensor:
    if name.startswith("log_std"):
        return tensor
    if name.endswith("ln.weight"):
        return 1.0 + 0.1 * torch.randn(tensor.shape)
    if name.endswith("bias"):
        return 0.1 * torch.randn(tensor.shape)
    inputs = tensor[0].numel() if tensor.ndim == 4 else tensor.shape[-1]
    return torch.randn(tensor.shape) * (2.0 / inputs) ** 0.5


def build(state: State, config: Config) -> Parts:
    """The modules with these weights; `state` may be the whole checkpoint, or what it has under `model`.

    Raises:
        BundleError: a checkpoint of many tasks, of state observations or of episodes that end early, or a key that
            does not fit.
    """
    found = under(state, "model.", "")
    _refuse(found)
    parts = networks(config)
    fill(parts, found, FAMILY, _own_name, optional=(r"log_std_(min|dif)",))
    scale = Standardise(*config.scaling)
    decode = TwoHot(config.num_bins, config.vmin, config.vmax)
    return Parts(
        encoder=Encoder(parts["_encoder"]["rgb"], config.frame_stack).eval(),
        predictor=Predictor(parts["_dynamics"], parts["_reward"], scale, decode).eval(),
        manifest=_manifest(config),
        heads={
            "value": Value(parts["_pi"], parts["_Qs"]["params"], decode, config.value == "minimum").eval(),
            "policy": Policy(parts["_pi"], parts.log_std_min, parts.log_std_dif, scale).eval(),
        },
    )


def _manifest(config: Config) -> Manifest:
    full = config.model_copy(update={"cost": config.cost or return_to_go(config.discount)})
    return make_manifest(
        FAMILY,
        full,
        camera={**CAMERAS["tdmpc2"], "width": IMAGE_SIZE, "height": IMAGE_SIZE, "frame_stack": config.frame_stack},
        state=[
            StateTensor(name="latent", kind="vector", shape=(config.latent_dim,)),
            StateTensor(name="reward", kind="vector", shape=(1,), role="outcome"),
        ],
        predictor=PredictorSpec(max_context=1),
        timing=Timing(step_s=config.step_s),
        heads={
            "value": Head(file="heads/value.onnx", inputs=["latent"], output="value"),
            "policy": Head(file="heads/policy.onnx", inputs=["latent", "noise"], output="action", kind="policy"),
        },
    )


def _refuse(state: State) -> None:
    """What this family's checkpoints may hold besides, and a bundle cannot."""
    reasons = {
        "_task_emb.": "is of an agent of many tasks; only those of a single task are exported",
        "_encoder.state.": "encodes state observations, and a bundle sees through a camera; train with obs=rgb",
        "_termination.": "predicts when an episode ends, which no energy here weighs; train with episodic=false",
    }
    for prefix, reason in reasons.items():
        for name, tensor in state.items():
            if name.startswith(prefix):
                raise BundleError(f"{FAMILY}: the checkpoint has {name} {list(tensor.shape)}: it {reason}")


def _own_name(name: str) -> str | None:
    """The checkpoint's name → ours; older checkpoints number the Q functions' tensors, four a layer."""
    if _UNUSED.match(name):
        return None
    numbered = re.fullmatch(r"_Qs\.params\.(\d+)", name)
    if numbered is None:
        return name
    layer, part = divmod(int(numbered[1]), len(_PLAIN_PARTS))
    return f"_Qs.params.{layer}.{_PLAIN_PARTS[part]}"
