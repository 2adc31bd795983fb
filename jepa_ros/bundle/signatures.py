"""The graphs that a manifest implies, and what each takes and gives."""

from __future__ import annotations

from jepa_ros.bundle.graphs import Signature, TensorType
from jepa_ros.bundle.manifest import Head, Manifest, StateTensor
from jepa_ros.bundle.model_spec import CacheSpec

ENCODER, PREDICTOR, PREDICTOR_VJP = "encoder.onnx", "predictor.onnx", "predictor_vjp.onnx"
PREDICTOR_CONDITION, PREDICTOR_STEP = "predictor_condition.onnx", "predictor_step.onnx"


def expected_signatures(manifest: Manifest) -> dict[str, Signature]:
    """By file; the batch N or B is free where `predictor.batch` is None. `predictor_vjp.onnx` only where the manifest
    lists it.

    - encoder: `image` uint8 `[N, h, w, c]`, `[N, S, h, w, c]` for a stack of S frames, and `measured` `[N, P]` where
      there is proprio → every state tensor but outcomes, by name.
    - predictor: these `[B, T, …]` and `action` `[B, T, A]` → `Manifest.next_name` of every state tensor.
    - predictor_vjp: the same inputs, and `cotangent_NAME` for each output NAME of the predictor → `grad_NAME` for each
      of its inputs.
    - heads: see `Head`; one file may hold several. A value's gradient: the head's inputs and `cotangent` `[B]` →
      `grad_latent` `[B, …]`.
    - where `predictor.cache` says so, for n new steps (n ≥ 1) after p that were seen (p ≥ 0, p + n ≤ T), n and p free:
      predictor_condition: `action` `[B, n, A]` → `condition` `[B, n, C]`, everything that depends on actions alone.
      predictor_step: the state's tensor `[B, n, D]`, `condition`, and for each layer i `keys_i` and `values_i`
      `[B, p, W]` → `next` `[B, D]` after the last step, and `new_keys_i` and `new_values_i` `[B, n, W]`. Steps stand at
      the positions p to p + n − 1 of the context.
    """
    camera, context, rows = manifest.camera, manifest.predictor.max_context, manifest.predictor.batch
    one = None if rows is None else 1
    stack = [camera.frame_stack] if camera.frame_stack > 1 else []
    image = {"image": TensorType("uint8", [one, *stack, camera.height, camera.width, camera.channels])}
    if manifest.proprio is not None:
        image["measured"] = _float(one, len(manifest.proprio.names))
    taken = [tensor for tensor in manifest.state if tensor.role != "outcome"]
    inputs = {tensor.name: _float(rows, context, *tensor.shape) for tensor in taken}
    inputs["action"] = _float(rows, context, manifest.action_size)
    time = [context] if manifest.predictor.output == "sequence" else []
    outputs = {manifest.next_name(tensor): _float(rows, *time, *tensor.shape) for tensor in manifest.state}
    found = {
        ENCODER: Signature(image, {tensor.name: _float(one, *tensor.shape) for tensor in taken}),
        PREDICTOR: Signature(inputs, outputs),
    }
    for head in manifest.heads.values():
        signature = _head(head, manifest.latent, manifest.action_size, rows)
        _add(found, head.file, signature)
        if head.gradient is not None:
            given = {"grad_latent": _float(rows, *manifest.latent.shape)}
            found[head.gradient] = Signature({**signature.inputs, "cotangent": _float(rows)}, given)
    if manifest.predictor.cache is not None:
        found |= _incremental(manifest, manifest.predictor.cache)
    if PREDICTOR_VJP in manifest.files:
        cotangents = {f"cotangent_{name}": tensor for name, tensor in outputs.items()}
        found[PREDICTOR_VJP] = Signature(
            {**inputs, **cotangents}, {f"grad_{name}": tensor for name, tensor in inputs.items()}
        )
    return found


def _head(head: Head, latent: StateTensor, actions: int, rows: int | None) -> Signature:
    shapes = {"latent": latent.shape, "goal": latent.shape, "noise": (actions,)}
    output = _float(rows, actions) if head.kind == "policy" else _float(rows)
    return Signature({name: _float(rows, *shapes[name]) for name in head.inputs}, {head.output: output})


def _incremental(manifest: Manifest, cache: CacheSpec) -> dict[str, Signature]:
    size = manifest.latent.shape[0]
    condition, kept = _float(None, None, cache.condition), _float(None, None, cache.width)
    names = [f"{part}_{layer}" for layer in range(cache.layers) for part in ("keys", "values")]
    inputs = {manifest.latent.name: _float(None, None, size), "condition": condition, **dict.fromkeys(names, kept)}
    outputs = {"next": _float(None, size), **{f"new_{name}": kept for name in names}}
    return {
        PREDICTOR_CONDITION: Signature({"action": _float(None, None, manifest.action_size)}, {"condition": condition}),
        PREDICTOR_STEP: Signature(inputs, outputs),
    }


def derivatives(manifest: Manifest) -> set[str]:
    """Files that are a derivative of another graph of the bundle."""
    return {PREDICTOR_VJP, *(head.gradient for head in manifest.heads.values() if head.gradient is not None)}


def _add(found: dict[str, Signature], file: str, signature: Signature) -> None:
    """Ask this of a file too, beside what it is asked for already."""
    held = found.get(file, Signature({}, {}))
    found[file] = Signature({**held.inputs, **signature.inputs}, {**held.outputs, **signature.outputs})


def _float(rows: int | None, *shape: int | None) -> TensorType:
    return TensorType("float32", [rows, *shape])
