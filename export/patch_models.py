"""What DINO-WM and jepa-wms have in common: both predict the patch tokens of a frozen image encoder, which their own
checkpoints leave out."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from jepa_ros.bundle.manifest import (
    ActionSpec,
    Manifest,
    PlannerDefaults,
    PredictorSpec,
    ProprioSpec,
    StateTensor,
    Timing,
)
from jepa_ros.errors import BundleError
from jepa_ros_export.checkpoint import fill, under
from jepa_ros_export.encoders import PatchTokens, load_tokens
from jepa_ros_export.family import FamilyConfig, State, make_manifest

# Of training, and of pictures that the originals draw from tokens; no part of planning.
UNUSED = ("decoder", "opt", "scaler", "encoder_optimizer", "predictor_optimizer", "decoder_optimizer",
          "action_encoder_optimizer")  # fmt: skip

POSITIONS = 37  # patches along each side of the 518 pixels that DINOv2's published positions are for


# The originals' PushT: robot, camera rate, and the mean and deviation of its recordings.
PUSHT: dict[str, Any] = {
    "step_s": 0.5,
    "action": ActionSpec(
        names=["dx", "dy"], units=["100 px", "100 px"], block=5, low=[-1, -1], high=[1, 1], delta=True, frame="image"
    ),
    "action_mean": [-0.0087, 0.0068],
    "action_std": [0.2019, 0.2002],
    "proprio": ProprioSpec(names=["x", "y", "vx", "vy"], units=["px", "px", "px/s", "px/s"]),
    "proprio_mean": [236.6155, 264.5674, -2.93032027, 2.54307914],
    "proprio_std": [101.1202, 87.0112, 74.84556075, 74.14009094],
}
# Of the tiny models: a robot that is told its velocity and measures its own, and an encoder of few parameters.
TINY: dict[str, Any] = {
    "name": "tiny",
    "step_s": 0.2,
    "action": ActionSpec(names=["vx", "wz"], units=["m/s", "rad/s"], block=2, low=[-0.4, -0.9], high=[0.6, 0.9]),
    "action_mean": [0.1, 0.0],
    "action_std": [0.25, 0.45],
    "proprio": ProprioSpec(names=["vx", "vy", "wz"], units=["m/s", "m/s", "rad/s"]),
    "proprio_mean": [0.1, 0.0, 0.0],
    "proprio_std": [0.2, 0.1, 0.5],
    "encoder": {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "patch_size": 14},
}


class PointwiseEmbedding(nn.Module):
    """A linear map of each step's action or proprio, `[…, size]` → `[…, width]`.

    The originals' class is a convolution over time with kernel 1, hence the weight's third axis `[width, size, 1]` and
    the name `patch_embed`.
    """

    def __init__(self, size: int, width: int) -> None:
        super().__init__()
        self.patch_embed = nn.Conv1d(size, width, kernel_size=1)

    def forward(self, x: Tensor) -> Tensor:
        return functional.linear(x, self.patch_embed.weight[:, :, 0], self.patch_embed.bias)


def complete(given: Any, defaults: Mapping[str, Any]) -> Any:
    """A config's fields with defaults for those not given; what is no mapping is left for pydantic to refuse.

    An action or proprio of one's own goes with scaling of one's own: the published model's would be silently wrong.

    Raises:
        ValueError: `action` or `proprio` without its mean and std.
    """
    if not isinstance(given, Mapping):
        return given
    for what in ("action", "proprio"):
        for part in ("mean", "std"):
            if given.get(what) is not None and f"{what}_{part}" not in given:
                raise ValueError(
                    f"{what}_{part} is missing: {what} is given, so its scaling must be too (null if it was none)"
                )
    if "proprio" in given and given["proprio"] is None:
        given = {"proprio_mean": None, "proprio_std": None, **given}
    return {**defaults, **given}


def check_encoder(settings: Mapping[str, Any], kind: str = "dinov2") -> None:
    """That the settings which sizes follow from are there.

    Raises:
        ValueError: naming one that is not.
    """
    needed = ("hidden_size", "num_hidden_layers", "num_attention_heads", "patch_size")
    for name in (*needed, "num_register_tokens") if kind == "dinov3" else needed:
        if name not in settings:
            raise ValueError(f"encoder lacks {name}; it is replaced as a whole, not merged with the default")


def unit_deviation(config: FamilyConfig) -> PlannerDefaults:
    """The planner with the originals' first deviation, 1 in z-scored actions, as a share of half an action's range: the
    mean over components, since the planner has one for all. A `std` that is given stays."""
    action, stds = config.action, config.action_std
    if config.planner.std is not None or stds is None:
        return config.planner
    shares = [
        2 * std / (high - low) for std, low, high in zip(stds, action.low, action.high, strict=True) if high > low
    ]
    return config.planner.model_copy(update={"std": sum(shares) / len(shares)}) if shares else config.planner


def patch_manifest(
    family: str, config: Any, camera: Mapping[str, Any], state: list[StateTensor], context: int
) -> Manifest:
    """The manifest of a causal predictor of patch tokens, its planner with `unit_deviation`.

    Args:
        config: of the family; `observed` is how many frames a plan starts from, at most.
        camera, state: as for `make_manifest`. context: frames that the predictor looks at.
    """
    block = config.action.block
    return make_manifest(
        family,
        config.model_copy(update={"planner": unit_deviation(config)}),
        camera=camera,
        state=state,
        predictor=PredictorSpec(causal=True, max_context=context, sliding=True, output="sequence"),
        timing=Timing(step_s=config.step_s, frame_skip=block, history_max=config.observed, warm_up="grow"),
    )


def load(
    state: State,
    what: str,
    encoder: PatchTokens,
    settings: Mapping[str, Any],
    encoder_file: str,
    parts: Mapping[str, nn.Module],
) -> None:
    """Fill the image encoder and the model's own parts from a checkpoint.

    Args:
        state: names begin with a part's. The encoder's may be what a pickled model calls `encoder.base_model`.
        settings: of the encoder, as `tokens_encoder` took them.
        encoder_file: what to add where there is no encoder, for the message.
        parts: by the name that the checkpoint has for them.

    Raises:
        BundleError: a tensor that is missing, unknown or of another shape, named with both shapes; no encoder.
    """
    clean = under(state, "")
    image = under(clean, "encoder.base_model.", "encoder.")
    if not image:
        raise BundleError(f"{what}: the checkpoint holds no encoder; add --checkpoint encoder={encoder_file}")
    fill(
        nn.ModuleDict(parts),
        {name: tensor for name, tensor in clean.items() if name.split(".")[0] not in ("encoder", *UNUSED)},
        what,
    )
    check_vit("dinov3" if encoder.kind == "dinov3" else "dinov2", settings, image, f"{what} encoder")
    load_tokens(encoder, image, f"{what} encoder")


def random_weights(module: nn.Module) -> dict[str, Tensor]:
    """A module's weights under their names, drawn anew so that none is at a neutral value: matrices keep the size of
    what goes through them, norms and biases are near 1 and 0 but not there, and so no gate is closed."""
    drawn = {}
    for name, tensor in module.state_dict().items():
        if tensor.dim() > 1:
            drawn[name] = torch.randn_like(tensor) * tensor[0].numel() ** -0.5
        else:
            drawn[name] = tensor.detach() + 0.1 * torch.randn_like(tensor)
    return drawn


def vit_shapes(kind: Literal["dinov2", "dinov3"], settings: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """Names and shapes of an image encoder's weights in facebookresearch's own checkpoints.

    Args:
        settings: as `tokens_encoder` takes them.
    """
    width, patch = settings["hidden_size"], settings["patch_size"]
    hidden = settings.get("intermediate_size", width * settings.get("mlp_ratio", 4))
    shapes: dict[str, tuple[int, ...]] = {"cls_token": (1, 1, width), "mask_token": (1, width)}
    if kind == "dinov2":
        shapes["pos_embed"] = (1, 1 + POSITIONS**2, width)
    else:
        shapes["storage_tokens"] = (1, settings["num_register_tokens"], width)
    shapes |= {"patch_embed.proj.weight": (width, 3, patch, patch), "patch_embed.proj.bias": (width,)}
    block = {
        "attn.qkv.weight": (3 * width, width),
        "attn.qkv.bias": (3 * width,),
        "attn.proj.weight": (width, width),
        "mlp.fc1.weight": (hidden, width),
        "mlp.fc1.bias": (hidden,),
        "mlp.fc2.weight": (width, hidden),
        **dict.fromkeys(("attn.proj.bias", "mlp.fc2.bias", "ls1.gamma", "ls2.gamma"), (width,)),
        **dict.fromkeys(("norm1.weight", "norm1.bias", "norm2.weight", "norm2.bias"), (width,)),
    }
    for layer in range(settings["num_hidden_layers"]):
        shapes |= {f"blocks.{layer}.{name}": shape for name, shape in block.items()}
    return {**shapes, "norm.weight": (width,), "norm.bias": (width,)}


def random_vit(kind: Literal["dinov2", "dinov3"], settings: Mapping[str, Any]) -> dict[str, Tensor]:
    """Random weights under these names, and what DINOv3 keeps beside them: periods, and a mask of the keys' biases."""
    state = {}
    for name, shape in vit_shapes(kind, settings).items():
        scale = torch.Size(shape[1:]).numel() ** -0.5 if len(shape) > 1 and name.endswith("weight") else 0.1
        near_one = name.endswith("gamma") or (len(shape) == 1 and name.endswith("weight"))
        state[name] = torch.randn(shape) * scale + (1.0 if near_one else 0.0)
    if kind == "dinov3":
        width, head = settings["hidden_size"], settings["hidden_size"] // settings["num_attention_heads"]
        exponents = torch.arange(head // 4) / (head / 4)
        state["rope_embed.periods"] = (settings.get("rope_theta", 100.0) ** exponents).bfloat16()
        for layer in range(settings["num_hidden_layers"]):
            state[f"blocks.{layer}.attn.qkv.bias_mask"] = torch.tensor([1.0, 0.0, 1.0]).repeat_interleave(width)
    return state


def check_vit(
    kind: Literal["dinov2", "dinov3"], settings: Mapping[str, Any], image: Mapping[str, Tensor], what: str
) -> None:
    """That an encoder in its project's spelling is whole, so that what is wrong is named as its file names it, and with
    the shape that it has there. Other spellings, and feed-forwards that are gated, are left to `load_tokens`.

    Raises:
        BundleError: a tensor that is missing or of another shape.
    """
    if "blocks.0.norm1.weight" not in image or settings.get("use_swiglu_ffn") or settings.get("use_gated_mlp"):
        return
    for name, shape in vit_shapes(kind, settings).items():
        if name == "mask_token":
            continue  # of pre-training
        if name not in image:
            raise BundleError(f"{what}: the checkpoint lacks {name} {list(shape)}")
        given = tuple(image[name].shape)
        # Positions may be of any square grid: they are resized.
        square = len(given) == 3 and math.isqrt(given[1] - 1) ** 2 == given[1] - 1 and given[::2] == shape[::2]
        if given != shape and not (name == "pos_embed" and square):
            raise BundleError(
                f"{what}: {name} is {list(given)} in the checkpoint and {list(shape)} in the model; set the "
                "architecture with --config"
            )
