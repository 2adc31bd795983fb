"""How encoders' checkpoints spell their parameters, and what transformers' classes call the same tensors.

Read from the projects' sources: facebookresearch/dinov2 (`models/vision_transformer.py`, `layers/`, `hub/`),
facebookresearch/dinov3 (the same files; its `layers/` from public copies), facebookresearch/ijepa
(`models/vision_transformer.py`, `train.py`), facebookresearch/vjepa2 (`src/models/`, `src/hub/backbones.py`). The
spelling of files that transformers wrote before its version 5 is read too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Literal

from torch import Tensor

from jepa_ros.errors import BundleError
from jepa_ros_export.checkpoint import under

Kind = Literal["dinov2", "dinov3", "ijepa", "vjepa2"]

# Applied in this order, each to what the one before made of the name; an empty result leaves the tensor out.
_OLD_ATTENTION = tuple(
    (rf"\.attention\.attention\.{n}\.", f".attention.{n[0]}_proj.") for n in ("query", "key", "value")
)
_DINOV2 = (
    (r"^(embeddings\.)?mask_token$", ""),
    (r"^(cls_token|register_tokens)$", r"embeddings.\1"),
    (r"^pos_embed$", "embeddings.position_embeddings"),
    (r"^patch_embed\.proj\.", "embeddings.patch_embeddings.projection."),
    (r"^norm\.", "layernorm."),
    (r"^blocks\.", "encoder.layer."),
    (r"\.attn\.proj\.", ".attention.o_proj."),
    (r"\.attn\.", ".attention."),
    (r"\.ls([12])\.gamma$", r".layer_scale\1.lambda1"),
    (r"\.mlp\.w3\.|\.mlp\.weights_out\.", ".mlp.down_proj."),
    (r"\.attention\.output\.dense\.", ".attention.o_proj."),
    *_OLD_ATTENTION,
)
_DINOV3 = (
    # Norms of class tokens do not touch the patches.
    (r"^(embeddings\.)?mask_token$|^(local_)?cls_norm\..*|^.*\.qkv\.bias_mask$", ""),
    (r"^cls_token$", "embeddings.cls_token"),
    (r"^storage_tokens$", "embeddings.register_tokens"),
    (r"^patch_embed\.proj\.", "embeddings.patch_embeddings."),
    (r"^blocks\.(\d+)\.|^layer\.(\d+)\.", lambda found: f"model.layer.{found[1] or found[2]}."),
    (r"\.attn\.proj\.", ".attention.o_proj."),
    (r"\.attn\.", ".attention."),
    (r"\.ls([12])\.gamma$", r".layer_scale\1.lambda1"),
    (r"\.mlp\.(fc1|w2)\.", ".mlp.up_proj."),
    (r"\.mlp\.(fc2|w3)\.", ".mlp.down_proj."),
    (r"\.mlp\.w1\.", ".mlp.gate_proj."),
)
_IJEPA = (
    (r"^pos_embed$", "embeddings.position_embeddings"),
    (r"^patch_embed\.proj\.", "embeddings.patch_embeddings.projection."),
    (r"^norm\.", "layernorm."),
    (r"^blocks\.(\d+)\.|^encoder\.layer\.(\d+)\.", lambda found: f"layers.{found[1] or found[2]}."),
    (r"\.norm1\.", ".layernorm_before."),
    (r"\.norm2\.", ".layernorm_after."),
    (r"\.attn\.proj\.|\.attention\.output\.dense\.", ".attention.o_proj."),
    (r"\.attn\.", ".attention."),
    (r"\.intermediate\.dense\.", ".mlp.fc1."),
    (r"\.output\.dense\.", ".mlp.fc2."),
    *_OLD_ATTENTION,
)
_VJEPA2 = (
    # The model rotates queries and keys; the embedding is a left-over that the original ignores too.
    (r"^pos_embed$|^predictor\..*", ""),
    (r"^encoder\.", ""),
    (r"^patch_embed\.", "embeddings.patch_embeddings."),
    (r"^norm\.", "layernorm."),
    (r"^blocks\.", "layer."),
    (r"\.attn\.", ".attention."),
)
_RULES = {"dinov2": _DINOV2, "dinov3": _DINOV3, "ijepa": _IJEPA, "vjepa2": _VJEPA2}

# What is one tensor in a checkpoint and several, split along the first axis, in transformers.
_PROJECTIONS = (".q_proj.", ".k_proj.", ".v_proj.")
_FUSED: dict[str, tuple[tuple[str, tuple[str, ...]], ...]] = {
    "dinov2": (
        (".qkv.", _PROJECTIONS),
        (".w12.", (".gate_proj.", ".up_proj.")),
        (".weights_in.", (".gate_proj.", ".up_proj.")),
    ),
    "dinov3": ((".qkv.", _PROJECTIONS),),
    "ijepa": ((".qkv.", _PROJECTIONS),),
    "vjepa2": ((".qkv.", (".query.", ".key.", ".value.")),),
}


def encoder_part(state: Mapping[str, Tensor], part: str = "target_encoder") -> dict[str, Tensor]:
    """The encoder's tensors in a checkpoint that may hold more, without the wrappers' names.

    Args:
        part: which encoder, where a training checkpoint holds several (`encoder`, `target_encoder`, `teacher`, …).

    Raises:
        BundleError: it holds several, and none is called that.
    """
    clean = under(state, "")
    # transformers' classes have a part `encoder` as well, but of layers, not of blocks.
    held = sorted({found[1] for name in clean if (found := re.match(r"(\w+)\.(?:backbone\.)?(?:blocks|norm)\.", name))})
    held = [name for name in held if name not in ("blocks", "backbone", "predictor")]
    if len(held) > 1 and part not in held:
        raise BundleError(f"encoder: the checkpoint holds {', '.join(held)}, and none of them is {part}; set part")
    if held:
        clean = under(clean, f"{part if part in held else held[0]}.")
    clean = {re.sub(r"^backbone\.", "", name): tensor for name, tensor in clean.items()}
    # DINOv2's training cuts the blocks into chunks and counts through: blocks.CHUNK.BLOCK.
    clean = {re.sub(r"^blocks\.\d+\.(\d+)\.", r"blocks.\1.", name): tensor for name, tensor in clean.items()}
    return {name: tensor for name, tensor in clean.items() if not re.match(r"(dino|ibot)_head\.", name)}


def is_original(state: Mapping[str, Tensor]) -> bool:
    """Whether the names are those of the original projects rather than transformers'."""
    return any(name.startswith("blocks.") for name in state)


def check_original(kind: Kind, found: Mapping[str, Tensor], shapes: Mapping[str, tuple[int, ...]], what: str) -> None:
    """That an encoder in the original's spelling is of these names and shapes, in the checkpoint's own words.

    Args:
        found: an encoder alone: `encoder_part`. what: the part of the model, for messages.

    Raises:
        BundleError: a tensor that is missing, unknown or of another shape, named with both shapes.
    """
    for name, shape in shapes.items():
        if name not in found and own_name(kind, name):
            raise BundleError(f"{what}: the checkpoint lacks {name} {list(shape)}; it has {len(found)} tensors")
    for name, tensor in found.items():
        if own_name(kind, name) and name not in shapes:
            raise BundleError(
                f"{what}: the checkpoint has {name} {list(tensor.shape)}, which this model has no place for"
            )
        if name in shapes and tuple(tensor.shape) != shapes[name]:
            raise BundleError(
                f"{what}: {name} is {list(tensor.shape)} in the checkpoint and {list(shapes[name])} in the model; set "
                "the architecture with --config"
            )


def own_name(kind: Kind, name: str) -> str:
    """A checkpoint's name → transformers', of a fused tensor not yet taken apart; empty for what is left out."""
    for pattern, replacement in _RULES[kind]:
        name = re.sub(pattern, replacement, name)
    return name


def renamed(kind: Kind, state: Mapping[str, Tensor]) -> Iterator[tuple[str, str, Tensor]]:
    """Each tensor as transformers' class has it: its name there, its spelling in the checkpoint, the tensor.

    Args:
        state: an encoder alone: `encoder_part`. What no rule knows keeps its name.
    """
    for name, tensor in state.items():
        own = own_name(kind, name)
        if not own:
            continue
        mask = state.get(f"{name}_mask")
        if mask is not None:  # DINOv3 multiplies its bias by a mask that is 0 for the keys
            tensor = tensor * mask
        pieces = next((into for fused, into in _FUSED[kind] if fused in own), ())
        if not pieces:
            yield own, name, tensor
        for piece, share in zip(pieces, tensor.chunk(max(1, len(pieces))), strict=False):
            if mask is not None and piece == ".k_proj." and not share.any():
                continue
            yield re.sub(r"\.(qkv|w12|weights_in)\.", piece, own), f"{name} ({piece.strip('.')})", share


def from_original(kind: Kind, state: Mapping[str, Tensor], part: str = "target_encoder") -> dict[str, Tensor]:
    """An encoder's tensors under the names of transformers' class, whichever spelling the checkpoint has."""
    return {own: tensor for own, _, tensor in renamed(kind, encoder_part(state, part))}
