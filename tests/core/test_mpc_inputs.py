"""The loop with a stack of frames, with measurements, and with a state that only in part is seen."""

from __future__ import annotations

import numpy as np
import pytest

from jepa_ros.bundle.manifest import ActionSpec, StateTensor
from jepa_ros.errors import ModelError
from jepa_ros.planning.factory import make_planner
from jepa_ros.planning.mpc import LatentMPC

from .linear_world import LinearWorld, manifest, term


class Recording(LinearWorld):
    """Encodes the newest frame of a stack as the position; keeps what it was given."""

    def __init__(self):
        super().__init__()
        self.given = []

    def encode(self, frame, *measured):
        self.given.append((np.array(frame), *measured))
        newest = frame[-1] if frame.ndim == 2 else frame
        if (newest == 99).any():
            raise ModelError("cannot be encoded")
        return np.array(newest, np.float32)


def make(world, stack=1, **changes):
    written = manifest()
    camera = written.camera.model_copy(update={"frame_stack": stack})
    written = written.model_copy(update={"camera": camera, **changes})
    return LatentMPC(world, make_planner(written, world, seed=0), written, delay_steps=0)


def at(*values):
    return np.array(values)


def test_the_first_frame_stands_for_those_before_it():
    world = Recording()
    loop = make(world, stack=3)
    for x in (1, 2, 3, 4):
        loop.step(at(x, 0))
    stacks = [frames[:, 0].tolist() for frames, _ in world.given]
    assert stacks == [[1, 1, 1], [1, 1, 2], [1, 2, 3], [2, 3, 4]]


def test_a_frame_that_cannot_be_encoded_is_not_kept():
    world = Recording()
    loop = make(world, stack=3)
    for x in (1, 2):
        loop.step(at(x, 0))
    for _ in range(2):
        with pytest.raises(ModelError, match="cannot be encoded"):
            loop.step(at(99, 0))
    loop.step(at(3, 0))
    assert world.given[-1][0][:, 0].tolist() == [1, 2, 3]


def test_a_first_frame_that_cannot_be_encoded_is_not_kept_either():
    world = Recording()
    loop = make(world, stack=2)
    with pytest.raises(ModelError, match="cannot be encoded"):
        loop.step(at(99, 0))
    loop.step(at(1, 0))
    assert world.given[-1][0][:, 0].tolist() == [1, 1]


def test_a_reset_forgets_the_frames():
    world = Recording()
    loop = make(world, stack=2)
    loop.step(at(1, 0))
    loop.reset()
    loop.step(at(2, 0))
    assert world.given[-1][0][:, 0].tolist() == [2, 2]


def test_a_frame_that_its_owner_writes_over_is_kept_as_it_was():
    """A camera's buffer is used again for the next frame; what is stacked must be what was seen."""
    world = Recording()
    loop, frame = make(world, stack=2), at(1, 0)
    loop.step(frame)
    frame[0] = 2
    loop.step(frame)
    assert world.given[-1][0][:, 0].tolist() == [1, 2]


@pytest.mark.parametrize("stack", [1, 2])
def test_what_was_measured_reaches_the_encoder(stack):
    world, measured = Recording(), np.array([0.5], np.float32)
    make(world, stack).step(at(1, 0), measured=measured)
    assert world.given[0][1] is measured


def test_a_model_that_measures_nothing_is_asked_with_the_frame_alone():
    """A world model of one's own need not know of measurements."""
    world = Recording()
    make(world).step(at(1, 0))
    assert len(world.given[0]) == 1


STATE = [
    StateTensor(name="joints", kind="vector", shape=(1,), role="proprio"),
    StateTensor(name="latent", kind="vector", shape=(2,)),
    StateTensor(name="reward", kind="vector", shape=(1,), role="outcome"),
    StateTensor(name="ground", kind="map", shape=(1, 1, 1)),
]


class Wrong(LinearWorld):
    """Its state of five is predicted to be off by these amounts."""

    off = np.zeros(5, np.float32)

    def encode(self, frame, measured=None):
        return np.array(frame, np.float32)

    def rollout(self, latents, past_actions, actions):
        return np.broadcast_to(latents[-1] + self.off, (*actions.shape[:2], 5))


@pytest.mark.parametrize(
    ("off", "energy"),
    [((9, 0, 0, 0, 0), 0), ((0, 0, 0, 9, 0), 0), ((0, 3, 0, 0, 0), 9 / 3), ((9, 1, 2, 9, 1), (1 + 4 + 1) / 3)],
)
def test_surprise_is_of_the_latent_tensors_alone(off, energy):
    """Nothing is seen of a reward, and what is measured is no view. The 99th percentile is 0.04."""
    world = Wrong()
    world.off = np.array(off, np.float32)
    loop = make(world, state=STATE)
    frame = at(1, 2, 3, 4, 5)
    assert loop.step(frame).surprise is None
    step = loop.step(frame, at(0, 0))
    assert step.surprise == pytest.approx(energy / 0.04)
    assert step.latent.tolist() == [1, 2, 3, 4, 5]


def test_the_goal_is_judged_by_the_tensor_that_a_term_names():
    loop = make(Wrong(), state=STATE, cost=[term(source="joints"), term(source="ground")])
    loop.set_goal(at(3, 0, 0, 0, 9).astype(np.float32))
    assert loop.step(at(1, 0, 0, 0, 0)).energy_now == pytest.approx(4)


def test_an_action_block_is_bounded_in_each_of_its_parts():
    """Two actions a step: each has the bounds, the fixed value and a norm of its own."""
    action = ActionSpec(
        names=["x", "y"], units=["m", "m"], low=[-1, 0.25], high=[1, 0.25], fixed={"y": 0.25}, norm_limit=0.5, block=2
    )

    class World(LinearWorld):
        def rollout(self, latents, past_actions, actions):
            shapes.append(actions.shape)
            return latents[-1] + np.cumsum(actions[..., :2] + actions[..., 2:], axis=1, dtype=np.float32)

        def encode(self, frame, measured=None):
            return np.array(frame, np.float32)

    shapes, world = [], World()
    loop = make(world, action=action)
    loop.set_goal(np.array([9, 0], np.float32))
    plan = loop.step(at(0, 0)).plan
    assert plan.actions.shape == (3, 4)
    single = plan.actions.reshape(3, 2, 2)
    np.testing.assert_allclose(single[..., 1], 0.25)
    assert np.linalg.norm(single, axis=-1).max() <= 0.5 + 1e-6
    assert np.linalg.norm(plan.actions, axis=-1).max() > 0.5
    loop.step(at(0, 0), at(0.1, 0.25, 0.2, 0.25))
    assert {shape[2] for shape in shapes} == {4}
