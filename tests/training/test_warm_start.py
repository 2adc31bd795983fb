"""Going on from weights that were trained before: a checkpoint's or a bundle's."""

from __future__ import annotations

import pytest
import torch

from jepa_ros.errors import JepaRosError
from jepa_ros_export import sigreg_jepa as family
from jepa_ros_training.checkpoint import load_average
from jepa_ros_training.model import ModelConfig
from jepa_ros_training.precision import autocast, cpu_has_bfloat16
from jepa_ros_training.train import Recipe, Trainer
from jepa_ros_training.warm_start import load_weights

from ..export.tiny_models import TINY, export_of, trained


@pytest.fixture
def tiny(tmp_path):
    return trained(tmp_path)


def test_a_bundle_gives_back_the_weights_it_was_made_from(tiny, tmp_path):
    family.export(export_of(tiny.checkpoint, tmp_path / "bundle", cost="latent"), tiny.runs)
    expected, found = load_average(tiny.checkpoint).state_dict(), load_weights(tmp_path / "bundle", TINY).state_dict()
    assert set(found) == set(expected)
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_training_begins_with_the_weights_given(tiny):
    start = load_weights(tiny.checkpoint)
    before = {name: value.clone() for name, value in start.state_dict().items()}
    recipe = Recipe(frames=1000, batch=4, window=8, horizon=4, learning_rate=0.0, weight_decay=0.0)
    trainer = Trainer(tiny.runs, TINY, recipe, "cpu", start)
    trainer.step()
    assert all(torch.equal(value, before[name]) for name, value in trainer.model.state_dict().items())


def test_a_bundle_of_other_sizes_is_refused_by_its_weight(tiny, tmp_path):
    family.export(export_of(tiny.checkpoint, tmp_path / "bundle", cost="latent"), tiny.runs)
    with pytest.raises(JepaRosError, match=r"weight encoder\.stages\.0\.weight has shape .*, this family has"):
        load_weights(tmp_path / "bundle", ModelConfig())


def test_a_bundle_of_another_family_is_refused(tiny_bundle):
    with pytest.raises(JepaRosError, match=r"weight encoder\.stages\.0\.weight is missing"):
        load_weights(tiny_bundle)


def test_half_precision_only_where_the_cpu_has_it():
    with autocast("cpu"):
        product = torch.ones(2, 2) @ torch.ones(2, 2)
    assert product.dtype == (torch.bfloat16 if cpu_has_bfloat16() else torch.float32)
