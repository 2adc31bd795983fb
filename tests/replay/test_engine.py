"""Replays of a bag about which everything is known: same plans twice, right errors, right words for what is wrong."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from jepa_ros.bundle.loader import load_bundle
from jepa_ros.errors import BundleError, ImageError, JepaRosError, PlanningError
from jepa_ros.world_model import OnnxWorldModel
from jepa_ros_replay.bags import BagError
from jepa_ros_replay.engine import ReplaySettings, replay
from jepa_ros_replay.typestores import known_definition
from jepa_ros_replay.writer import BagWriter

from . import made_bag
from .made_bag import ACTION, BEGIN_S, GO2, WALL, image, joint_state, rows, write

GOAL = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)


@pytest.fixture
def settings(tmp_path):
    cv2.imwrite(str(tmp_path / "goal.png"), GOAL[..., ::-1])
    return ReplaySettings(goal=str(tmp_path / "goal.png"))


@pytest.fixture
def bag(tmp_path):
    return write(tmp_path / "bag", rows())


def on(topic, change):
    """Change or drop the messages of one topic."""
    return lambda row: change(row) if row[1] == topic else row


def test_two_replays_plan_alike_and_one_changed_pixel_changes_the_hash(tmp_path, bag, tiny_bundle, settings):
    first, second = replay(bag, tiny_bundle, settings), replay(bag, tiny_bundle, settings)
    assert first.plan_sha256 == second.plan_sha256
    assert len(first.plans) == 40
    wall = WALL.copy()
    wall[3, 5, 1] += 1

    def one_pixel(row):
        return (row[0], row[1], image(row[0], wall)) if abs(row[0] - BEGIN_S - 4.0) < 0.01 else row

    other = write(tmp_path / "other", rows(), on("/camera/image_raw", one_pixel))
    assert replay(other, tiny_bundle, settings).plan_sha256 != first.plan_sha256


def test_plans_are_kept_whole_where_they_are_asked_for(tmp_path, bag, tiny_bundle, settings):
    assert replay(bag, tiny_bundle, settings).recorded_plans is None
    strong = replace(settings, save_plans=True, planner=(("horizon", 3), ("samples", 24)))
    found = replay(bag, tiny_bundle, strong)
    kept, rows = found.recorded_plans, [row for row in found.plans if row.actions is not None]
    np.testing.assert_array_equal(kept.actions, [row.actions for row in rows])
    np.testing.assert_allclose(kept.energies, [row.plan_energy for row in rows])
    assert kept.actions.shape[1:] == (3, 3)
    # The tiny model: the first three values of a latent move by the action, nothing else does.
    moved = kept.latents[:, None, :3] + np.cumsum(kept.actions, axis=1)
    np.testing.assert_allclose(kept.predicted[..., :3], moved, atol=1e-5)
    model = OnnxWorldModel(load_bundle(tiny_bundle))
    np.testing.assert_array_equal(kept.goals, np.tile(model.encode(GOAL), (len(rows), 1)))
    kept.check("replayed")
    with pytest.raises(PlanningError, match="no planner setting is called 'sample'"):
        replay(bag, tiny_bundle, replace(settings, planner=(("sample", 3),)))


def test_another_seed_plans_otherwise(bag, tiny_bundle, settings):
    other = ReplaySettings(goal=settings.goal, seed=1)
    assert replay(bag, tiny_bundle, settings).plan_sha256 != replay(bag, tiny_bundle, other).plan_sha256


def test_open_loop_error_is_what_the_linear_model_must_make(bag, tiny_bundle, settings):
    """The wall never moves while the model believes that vx moves its first latent by 0.1 a step: off by 0.1 h."""
    found = replay(bag, tiny_bundle, settings).open_loop
    assert [row[0] for row in found] == list(range(1, 9))
    for steps, model, copied, windows in found:
        assert model == pytest.approx((ACTION[0] * steps) ** 2 / 8, rel=1e-3)
        assert copied == 0.0
        assert windows == 32


def test_surprise_is_the_same_error_in_the_bundles_unit(bag, tiny_bundle, settings):
    surprise = [row.surprise for row in replay(bag, tiny_bundle, settings).plans]
    assert np.isnan(surprise[0])
    np.testing.assert_allclose(surprise[1:], 0.1**2 / 8 / 0.01, rtol=1e-3)


def test_the_shadow_stands_up_and_walks_as_planned(bag, tiny_bundle, settings):
    found = replay(bag, tiny_bundle, settings)
    assert found.commands
    assert found.applied
    times = np.diff([row.t for row in found.commands])
    np.testing.assert_allclose(times, 0.01, atol=1e-6)
    for row in found.commands:
        assert (row.position >= GO2.lower).all()
        assert (row.position <= GO2.upper).all()
    assert set(found.command_difference()) == set(GO2.joint_names)
    assert found.summary()["safety_events"] == {}


def test_the_summary_has_what_it_promises(bag, tiny_bundle, settings):
    told = []
    found = replay(bag, tiny_bundle, settings, progress=told.append)
    summary = found.summary()
    for key in ("plan_sha256", "frames", "realtime_factor", "surprise", "stage_ms", "safety_events"):
        assert key in summary
    assert summary["frames"] == 80
    assert summary["seconds"] == pytest.approx(7.98, abs=0.01)
    assert summary["faults"] == []
    assert told == sorted(told)
    assert told[-1] == 1.0


def test_a_bag_without_joint_states_still_plans_and_says_so(tmp_path, bag, tiny_bundle, settings):
    without = write(tmp_path / "without", rows(), on("/joint_states", lambda row: None))
    found = replay(without, tiny_bundle, settings)
    assert found.plan_sha256 == replay(bag, tiny_bundle, settings).plan_sha256
    assert found.commands == []
    assert [fault.what for fault in found.faults] == ["there is no joint_states in it: no commands were replayed"]


def test_a_bag_without_a_camera_is_refused(tmp_path, tiny_bundle, settings):
    without = write(tmp_path / "without", rows(1.0), on("/camera/image_raw", lambda row: None))
    with pytest.raises(BagError, match="holds no camera images; its topics are /applied_action, /imu"):
        replay(without, tiny_bundle, settings)


def test_dropped_frames_are_counted_and_a_hole_begins_the_history_anew(tmp_path, tiny_bundle, settings):
    def hole(row):
        return None if 3.0 < row[0] - BEGIN_S < 3.75 else row

    found = replay(write(tmp_path / "hole", rows(), on("/camera/image_raw", hole)), tiny_bundle, settings)
    assert found.dropped == 7
    assert [gap.topic for gap in found.gaps] == ["/camera/image_raw"]
    assert [row.restarted for row in found.plans if row.restarted] == ["no frame for 0.80 s"]


def test_frames_that_come_late_are_counted(tmp_path, tiny_bundle, settings):
    def late(row):
        return (row[0] + 0.25, row[1], row[2]) if row[0] - BEGIN_S > 7.0 else row

    assert replay(write(tmp_path / "late", rows(), on("/camera/image_raw", late)), tiny_bundle, settings).late == 9


def test_frames_that_cannot_be_used_are_counted_by_their_sentence(tmp_path, tiny_bundle, settings):
    def deep(row):
        return (row[0], row[1], image(row[0], WALL[..., 0].astype(np.uint16), "16UC1")) if row[0] > BEGIN_S + 4 else row

    found = replay(write(tmp_path / "deep", rows(), on("/camera/image_raw", deep)), tiny_bundle, settings)
    (sentence,) = found.images_refused
    assert "16UC1" in sentence
    assert len(found.plans) == 21


def test_a_bag_of_frames_that_cannot_be_used_at_all_is_refused(tmp_path, tiny_bundle, settings):
    def deep(row):
        return row[0], row[1], image(row[0], WALL[..., 0].astype(np.uint16), "16UC1")

    path = write(tmp_path / "deep", rows(1.0), on("/camera/image_raw", deep))
    with pytest.raises(BagError, match="no camera frame could be used: image encoding 16UC1"):
        replay(path, tiny_bundle, settings)


def test_a_missing_joint_is_said_once_and_no_command_leaves(tmp_path, tiny_bundle, settings):
    def lacking(row):
        return row[0], row[1], joint_state(row[0], GO2.stance("stand"), GO2.joint_names[:-1])

    path = write(tmp_path / "lacking", rows(4.0), on("/joint_states", lacking))
    found = replay(path, tiny_bundle, settings)
    assert found.commands == []
    assert [row.reason for row in found.safety] == ["joint_states_refused"]
    assert GO2.joint_names[-1] in found.safety[0].detail


def test_a_clock_that_went_back_is_said_with_its_place(tmp_path, tiny_bundle, settings):
    content = rows()
    half = len(content) // 2
    shifted = [(t - 2.0, topic, _restamped(message, t - 2.0)) for t, topic, message in content[half:]]
    serialised = [
        (topic, round(t * 1e9), bytes(made_bag.STORE.serialize_cdr(message, message.__msgtype__)))
        for t, topic, message in [*content[:half], *shifted]
    ]
    # In chunks of 50 messages: a place in a bag is that of a chunk.
    writer = BagWriter(tmp_path / "back")
    for topic, kind in {(topic, message.__msgtype__) for _, topic, message in content}:
        writer.add_topic(topic, kind, known_definition(kind))
    for number, row in enumerate(serialised, 1):
        writer.write(*row)
        if number % 50 == 0:
            writer.flush()
    writer.close()
    found = replay(tmp_path / "back", tiny_bundle, settings)
    assert any("the clock went back" in fault.what and fault.offset is not None for fault in found.faults)


def _restamped(message, t):
    return type(message)(**{**vars(message), "header": made_bag.header(t)})


def test_without_a_goal_the_last_frame_is_it(bag, tiny_bundle):
    found = replay(bag, tiny_bundle)
    assert found.goals == [(BEGIN_S, "the bag's last frame")]
    np.testing.assert_allclose([row.energy for row in found.plans], 0.0, atol=1e-6)


def test_a_goal_from_a_moment_of_a_bag(tmp_path, bag, tiny_bundle):
    def changing(row):
        return row[0], row[1], image(row[0], np.full((16, 16, 3), int(10 * (row[0] - BEGIN_S)), np.uint8))

    other = write(tmp_path / "other", rows(), on("/camera/image_raw", changing))
    asked = replay(bag, tiny_bundle, ReplaySettings(goal=f"{other}@3.14s"))
    cv2.imwrite(str(tmp_path / "31.png"), np.full((16, 16, 3), 31, np.uint8))
    assert asked.plan_sha256 == replay(bag, tiny_bundle, ReplaySettings(goal=str(tmp_path / "31.png"))).plan_sha256


@pytest.mark.parametrize(
    ("goal", "error", "says"),
    [
        ("attic", BundleError, "no goal is named 'attic'"),
        ("nowhere.png", ImageError, "no such file"),
        ("{bag}@99s", BagError, r"is 8\.0 s long, there is no frame at 99\.0 s"),
        ("/nowhere@1s", BagError, "nowhere"),
    ],
)
def test_a_goal_that_is_not_there(bag, tiny_bundle, goal, error, says):
    with pytest.raises(error, match=says):
        replay(bag, tiny_bundle, ReplaySettings(goal=goal.format(bag=bag)))


def test_other_topic_names(tmp_path, bag, tiny_bundle, settings):
    def renamed(row):
        return row[0], "/front/rgb", row[2]

    path = write(tmp_path / "other", rows(), on("/camera/image_raw", renamed))
    with pytest.raises(BagError, match="no camera images"):
        replay(path, tiny_bundle, settings)
    told = ReplaySettings(goal=settings.goal, remaps=(("camera/image_raw", "/front/rgb"),))
    assert replay(path, tiny_bundle, told).plan_sha256 == replay(bag, tiny_bundle, settings).plan_sha256
    wrong = ReplaySettings(goal=settings.goal, remaps=(("camera/image_raw", "/imu"),))
    with pytest.raises(JepaRosError, match=r"remap camera/image_raw:=/imu: is sensor_msgs/msg/Imu, not sensor_msgs"):
        replay(path, tiny_bundle, wrong)
