"""PLDM of tiny dimensions: settings of the map, models, inputs and what is said of them."""

from __future__ import annotations

import torch

from jepa_ros.bundle.manifest import ProprioSpec
from jepa_ros_export import pldm

ROOT = "model_state_dict.level1."


def tiny_map(**changes):
    return pldm.Config(
        **{
            "latent": "map",
            "size": 20,
            "channels": 3,
            "min_max": False,
            "pixel_mean": [120.0, 100.0, 90.0],
            "pixel_std": [60.0, 50.0, 40.0],
            "action_mean": [0.0, 0.1],
            "action_std": [0.4, 0.5],
            "proprio": ProprioSpec(names=["vx", "vy"], units=["m/s", "m/s"]),
            "proprio_mean": [0.1, 0.0],
            "proprio_std": [1.4, 1.3],
            "convolutions": [(8, 5, 1, 0), (12, 5, 2, 1), (6, 1, 1, 0)],
            "predictor_widths": [8, 12],
            **changes,
        }
    )


def made(config, seed=0):
    """Parts, and the weights by their names under level 1."""
    torch.manual_seed(seed)
    state = pldm.random_checkpoint(config)
    return pldm.build(state, config), {name.removeprefix(ROOT): value for name, value in state.items()}


def frames(config, count=3):
    return torch.randint(0, 256, (count, config.size, config.size, config.channels), dtype=torch.uint8)


def outputs(parts, config, seed=1):
    """Everything that the two networks say of the same inputs, in one list."""
    torch.manual_seed(seed)
    given = [frames(config)] + ([torch.randn(3, 2)] if config.proprio else [])
    state = parts.encoder(*given)
    state = list(state) if isinstance(state, tuple) else [state]
    after = parts.predictor(*(tensor[:, None] for tensor in state), torch.randn(3, 1, 2))
    return [*state, *(after if isinstance(after, tuple) else [after])]
