"""Where each tensor of the state lies in a latent `[D]`."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from jepa_ros.bundle.layout import StateLayout
from jepa_ros.bundle.manifest import StateTensor

from .made_bundles import MANY

AXES = {"vector": 1, "tokens": 2, "map": 3}


@st.composite
def states(draw):
    """Up to six tensors, one of them at least a latent."""
    roles = draw(st.lists(st.sampled_from(["latent", "proprio", "outcome"]), max_size=5))
    roles.insert(draw(st.integers(0, len(roles))), "latent")
    found = []
    for i, role in enumerate(roles):
        kind = draw(st.sampled_from(sorted(AXES)))
        shape = tuple(draw(st.integers(1, 4)) for _ in range(AXES[kind]))
        found.append(StateTensor(name=f"t{i}", kind=kind, shape=shape, role=role))
    return found


@given(states())
def test_places_follow_one_another_from_0_to_d(state):
    layout, reached = StateLayout(state), 0
    for tensor in state:
        place = layout.place(tensor.name)
        assert (place.start, place.stop) == (reached, reached + math.prod(tensor.shape))
        reached = place.stop
    assert layout.size == reached
    numbers = np.arange(layout.size, dtype=np.float32)
    np.testing.assert_array_equal(np.concatenate([layout.part(numbers, tensor.name) for tensor in state]), numbers)


@given(states())
def test_what_is_seen_taken_and_judged(state):
    layout = StateLayout(state)
    assert layout.seen == [layout.place(tensor.name) for tensor in state if tensor.role == "latent"]
    assert [tensor.role != "outcome" for tensor in layout.all] == [tensor in layout.taken for tensor in layout.all]
    assert layout.latent == next(tensor for tensor in state if tensor.role == "latent")


def test_a_part_of_many_latents_is_a_view():
    layout = StateLayout(MANY)
    latents = np.arange(2 * 3 * 13, dtype=np.float32).reshape(2, 3, 13)
    np.testing.assert_array_equal(layout.part(latents, "joints"), latents[:, :, 6:8])
    assert np.shares_memory(layout.part(latents, "ground"), latents)
    assert "ground" in layout
    assert "sky" not in layout
