"""In which precision training pays: bfloat16 where the device computes in it, float32 where it would be emulated."""

from __future__ import annotations

import torch


def autocast(device: str) -> torch.autocast:
    """A context for forward passes. On a CPU without bfloat16 instructions, emulation made an encoder step a hundred
    times slower than float32, so there it changes nothing."""
    return torch.autocast(device, torch.bfloat16, enabled=device != "cpu" or cpu_has_bfloat16())


def cpu_has_bfloat16() -> bool:
    """Whether the CPU multiplies bfloat16 in hardware (AVX-512 BF16, AMX); False where PyTorch cannot tell."""
    checks = (getattr(torch.cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"))
    return any(check is not None and check() for check in checks)
