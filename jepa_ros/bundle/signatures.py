"""The graphs that a manifest implies, and what each takes and gives."""

from __future__ import annotations

from jepa_ros.bundle.graphs import Signature, TensorType
from jepa_ros.bundle.manifest import Head, Manifest, StateTensor

ENCODER, PREDICTOR, PREDICTOR_VJP = "encoder.onnx", "predictor.onnx", "predictor_vjp.onnx"


def expected_signatures(manifest: Manifest) -> dict[str, Signature]:
    """By file; the batch is free. `predictor_vjp.onnx` only where the manifest lists it.

    - encoder: `image` uint8 `[N, h, w, c]`, `[N, S, h, w, c]` for a stack of S frames, and `measured` `[N, P]` where
      there is proprio → every state tensor but outcomes, by name.
    - predictor: these `[B, T, …]` and `action` `[B, T, A]` → `Manifest.next_name` of every state tensor.
    - predictor_vjp: the same inputs, and `cotangent_NAME` for each output NAME of the predictor → `grad_NAME` for each
      of its inputs.
    - heads: see `Head`; one file may hold several.
    """
    camera, context = manifest.camera, manifest.predictor.max_context
    stack = [camera.frame_stack] if camera.frame_stack > 1 else []
    image = {"image": TensorType("uint8", [None, *stack, camera.height, camera.width, camera.channels])}
    if manifest.proprio is not None:
        image["measured"] = _float(len(manifest.proprio.names))
    taken = [tensor for tensor in manifest.state if tensor.role != "outcome"]
    inputs = {tensor.name: _float(context, *tensor.shape) for tensor in taken}
    inputs["action"] = _float(context, manifest.action_size)
    time = [context] if manifest.predictor.output == "sequence" else []
    outputs = {manifest.next_name(tensor): _float(*time, *tensor.shape) for tensor in manifest.state}
    found = {
        ENCODER: Signature(image, {tensor.name: _float(*tensor.shape) for tensor in taken}),
        PREDICTOR: Signature(inputs, outputs),
    }
    for head in manifest.heads.values():
        _add(found, head.file, _head(head, manifest.latent, manifest.action_size))
    if PREDICTOR_VJP in manifest.files:
        cotangents = {f"cotangent_{name}": tensor for name, tensor in outputs.items()}
        found[PREDICTOR_VJP] = Signature(
            {**inputs, **cotangents}, {f"grad_{name}": tensor for name, tensor in inputs.items()}
        )
    return found


def _head(head: Head, latent: StateTensor, actions: int) -> Signature:
    shapes = {"latent": latent.shape, "goal": latent.shape, "noise": (actions,)}
    output = _float(actions) if head.kind == "policy" else _float()
    return Signature({name: _float(*shapes[name]) for name in head.inputs}, {head.output: output})


def _add(found: dict[str, Signature], file: str, signature: Signature) -> None:
    """Ask this of a file too, beside what it is asked for already."""
    held = found.get(file, Signature({}, {}))
    found[file] = Signature({**held.inputs, **signature.inputs}, {**held.outputs, **signature.outputs})


def _float(*shape: int) -> TensorType:
    return TensorType("float32", [None, *shape])
