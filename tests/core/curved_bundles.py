"""Bundles as in `made_bundles` whose predictor bends, with the derivatives of predictor and value head as graphs.

With the weighed positions r = W x and u = tanh(r), each output is u S. Its vector-Jacobian product with cotangents c is
x̄ = Wᵀ ((Σ c Sᵀ) (1 − u²)), written into the graph as it stands here.
"""

from __future__ import annotations

import math

import numpy as np
from onnx import TensorProto

from .made_bundles import Made, save

FLOAT = TensorProto.FLOAT


class Curved(Made):
    """A bundle with `predictor_vjp.onnx`, and with a value head's gradient in `value_vjp.onnx` where it has one."""

    def _bent(self, read):
        return np.tanh(read)

    def _manifest(self, block, heads, blocks):
        manifest = super()._manifest(block, heads, blocks)
        if "value" not in heads:
            return manifest
        value = manifest.heads["value"].model_copy(update={"gradient": "value_vjp.onnx"})
        return manifest.model_copy(update={"heads": {**manifest.heads, "value": value}})

    def _write_predictor(self, manifest, rng):
        context, time = self.context, [self.context] if self.output == "sequence" else []
        flat = [f"{tensor.name}_flat" for tensor in self.taken]
        forward = {"flat_shape": np.array([0, context, -1]), "times": self.times}
        nodes = [("Reshape", [t.name, "flat_shape"], [name], {}) for t, name in zip(self.taken, flat, strict=True)]
        nodes += [("Concat", [*flat, "action"], ["rows"], {"axis": 2}), ("MatMul", ["times", "rows"], ["read"], {}),
                  ("Tanh", ["read"], ["bent"], {})]  # fmt: skip
        inputs = {t.name: (FLOAT, [context, *t.shape]) for t in self.taken}
        inputs["action"] = (FLOAT, [context, self.actions])
        names = {manifest.next_name(tensor): tensor for tensor in self.state}
        outputs = {name: (FLOAT, [*time, *tensor.shape]) for name, tensor in names.items()}

        constants, ends = dict(forward), []
        for name, tensor in names.items():
            constants |= {
                f"{name}_weights": self.step[tensor.name],
                f"{name}_shape": np.array([0, *time, *tensor.shape]),
            }
            ends += [("MatMul", ["bent", f"{name}_weights"], [f"{name}_rows"], {}),
                     ("Reshape", [f"{name}_rows", f"{name}_shape"], [name], {})]  # fmt: skip
        save(self.folder / "predictor.onnx", [*nodes, *ends], inputs, outputs, constants)

        rows = 3
        golden = {name: rng.standard_normal((rows, *shape)).astype(np.float32) for name, (_, shape) in inputs.items()}
        x = np.concatenate([part.reshape(rows, context, -1) for part in golden.values()], axis=2)
        u = np.tanh(self.times @ x)
        cotangents = {
            name: rng.standard_normal((rows, *shape)).astype(np.float32) for name, (_, shape) in outputs.items()
        }
        pulled = sum(
            c.reshape(rows, len(self.times), -1) @ self.step[names[name].name].T for name, c in cotangents.items()
        )
        back = self.times.T @ (pulled * (1 - u**2))
        sizes = [math.prod(tensor.shape) for tensor in self.taken]
        parts = np.split(back, np.cumsum(sizes), axis=2)
        golden |= {name: (u @ self.step[t.name]).reshape(rows, *time, *t.shape) for name, t in names.items()}
        golden |= {f"cotangent_{name}": value for name, value in cotangents.items()}
        for name, part in zip((*(t.name for t in self.taken), "action"), parts, strict=True):
            golden[f"grad_{name}"] = part.reshape(rows, *inputs[name][1])
        self._write_derivative(nodes, forward, inputs, outputs, names, [*sizes, self.actions])
        if manifest.heads.get("value"):
            golden |= self._write_head_gradient()
        for tensor in self.taken:
            golden["context" if len(self.state) == 1 else f"context_{tensor.name}"] = golden.pop(tensor.name)
        return golden

    def _write_derivative(self, nodes, forward, inputs, outputs, names, sizes):
        nodes, constants = list(nodes), {**forward, "times_back": self.times.T.copy(), "sizes": np.array(sizes)}
        constants |= {"one": np.array(1, np.float32), "read_shape": np.array([0, len(self.times), -1])}
        pulled = []
        for name, tensor in names.items():
            constants[f"{name}_back"] = self.step[tensor.name].T.copy()
            nodes += [("Reshape", [f"cotangent_{name}", "read_shape"], [f"{name}_c"], {}),
                      ("MatMul", [f"{name}_c", f"{name}_back"], [f"{name}_pulled"], {})]  # fmt: skip
            pulled.append(f"{name}_pulled")
        found = {f"grad_{name}": shape for name, shape in inputs.items()}
        nodes += [("Sum", pulled, ["pulled"], {}), ("Mul", ["bent", "bent"], ["square"], {}),
                  ("Sub", ["one", "square"], ["bend"], {}), ("Mul", ["pulled", "bend"], ["by_read"], {}),
                  ("MatMul", ["times_back", "by_read"], ["by_rows"], {}),
                  ("Split", ["by_rows", "sizes"], [f"{name}_flat_out" for name in found], {"axis": 2})]  # fmt: skip
        for name, (_, shape) in found.items():
            constants[f"{name}_shape"] = np.array([0, *shape])
            nodes.append(("Reshape", [f"{name}_flat_out", f"{name}_shape"], [name], {}))
        taken = inputs | {f"cotangent_{name}": shape for name, shape in outputs.items()}
        save(self.folder / "predictor_vjp.onnx", nodes, taken, found, constants)

    def _write_head_gradient(self):
        """The head says (latent + goal) · judge: c judgeᵀ, wherever it is asked."""
        shape, rng = self.latent.shape, np.random.default_rng(2)
        nodes = [("Reshape", ["cotangent", "column"], ["c"], {}), ("MatMul", ["c", "judge"], ["flat"], {}),
                 ("Reshape", ["flat", "shape"], ["grad_latent"], {})]  # fmt: skip
        constants = {"column": np.array([-1, 1]), "judge": self.judge.T.copy(), "shape": np.array([0, *shape])}
        inputs = {"latent": (FLOAT, shape), "goal": (FLOAT, shape), "cotangent": (FLOAT, [])}
        save(self.folder / "value_vjp.onnx", nodes, inputs, {"grad_latent": (FLOAT, shape)}, constants)
        cotangent = rng.standard_normal(3).astype(np.float32)
        by_latent = (cotangent[:, None] * self.judge[:, 0]).reshape(3, *shape)
        return {"head_value_cotangent": cotangent, "head_value_grad_latent": by_latent}
