"""Plan graphs on disk: made once, made again when damaged, never mixed up."""

from __future__ import annotations

import importlib.util
import inspect
import logging
import os
import shutil
import sys
from dataclasses import replace

import numpy as np
import onnx
import pytest

from jepa_ros.bundle.loader import load_bundle
from jepa_ros.bundle.manifest import CostTerm
from jepa_ros.guardrails import ActionMagnitude, Penalty
from jepa_ros.planning.compiled import cache
from jepa_ros.planning.compiled.cache import DIGEST, GRAPH, PlanCache, default_cache
from jepa_ros.planning.compiled.compiler import PlanShape, Question, content_hash
from jepa_ros.planning.compiled.limits import PenaltyTerm
from jepa_ros.planning.compiled.objectives import terms_of
from jepa_ros.planning.compiled.tensors import GraphBuilder
from jepa_ros.planning.compiled.terms import GoalTerm, Term
from jepa_ros.planning.config import PlannerConfig
from jepa_ros.planning.cost import GoalObjective
from jepa_ros.share import default_bundle


def graph(size=4):
    builder = GraphBuilder()
    builder.output("y", builder.input("x", (size,)) + builder.constant(np.arange(size)))
    return builder.model()


class Counting:
    def __init__(self):
        self.made = 0

    def __call__(self):
        self.made += 1
        return graph()


def test_an_entry_is_made_once(tmp_path):
    make, kept = Counting(), PlanCache(tmp_path / "plans")
    assert kept.get("a", make) == kept.get("a", make) == tmp_path / "plans" / "a" / GRAPH
    assert make.made == 1
    kept.get("b", make)
    assert make.made == 2
    assert sorted(path.name for path in kept.folder.iterdir()) == ["a", "b"]


@pytest.mark.parametrize("damage", ["cut", "no digest", "no graph", "other bytes"])
def test_a_damaged_entry_is_made_again(tmp_path, damage, caplog):
    make, kept = Counting(), PlanCache(tmp_path)
    path = kept.get("a", make)
    whole = path.read_bytes()
    if damage == "cut":
        path.write_bytes(whole[: len(whole) // 2])
    elif damage == "other bytes":
        path.write_bytes(b"\0" * len(whole))
    else:
        (path if damage == "no graph" else path.parent / DIGEST).unlink()
    with caplog.at_level(logging.WARNING):
        assert kept.get("a", make).read_bytes() == whole
    assert make.made == 2
    assert "damaged; it is made again" in caplog.text
    assert kept.get("a", make).read_bytes() == whole
    assert make.made == 2


def test_a_graph_that_cannot_be_made_leaves_nothing(tmp_path):
    def fails():
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        PlanCache(tmp_path).get("a", fails)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_written_is_no_obstacle(tmp_path, caplog):
    (tmp_path / "file").write_text("")
    make = Counting()
    with caplog.at_level(logging.WARNING):
        path = PlanCache(tmp_path / "file" / "plans").get("a", make)
    assert onnx.load(str(path)).graph.name == "plan"
    assert "cannot be written" in caplog.text


def test_only_the_last_that_were_asked_for_are_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(cache, "_ENTRIES", 3)
    make, kept = Counting(), PlanCache(tmp_path)
    for age, key in enumerate("abc"):
        os.utime(kept.get(key, make).parent, (age, age))
    kept.get("a", make)
    kept.get("d", make)
    assert make.made == 4
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "c", "d"]


def test_large_weights_lie_beside_the_graph_and_are_watched(tmp_path, monkeypatch):
    monkeypatch.setattr(cache, "_EMBEDDED", 1000)
    make = Counting()

    def large():
        make.made += 1
        return graph(5000)

    path = PlanCache(tmp_path).get("a", large)
    weights = path.parent / "weights.bin"
    assert weights.stat().st_size >= 20000
    np.testing.assert_array_equal(
        onnx.numpy_helper.to_array(onnx.load(str(path)).graph.initializer[0]), np.arange(5000, dtype=np.float32)
    )
    weights.write_bytes(weights.read_bytes()[:-4])
    PlanCache(tmp_path).get("a", large)
    assert make.made == 2


def test_the_default_folder_is_the_users(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_cache() == tmp_path / "jepa_ros" / "plans"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert default_cache() == tmp_path / "home" / ".cache" / "jepa_ros" / "plans"


def test_the_hash_follows_what_a_graph_is_made_of():
    bundle = load_bundle(default_bundle())
    terms = bundle.manifest.cost

    class Model:
        def head(self, name, latents, goal):
            return latents[:, 0]

    def key(goal=0.0, cost=terms, bundle=bundle, **changes):
        objective = GoalObjective(Model(), np.full(128, goal, np.float32), cost)
        shape = {"planner": "cem", "config": PlannerConfig(), "actions": 3, "known": 3, "guesses": 2, "rows": 64}
        return content_hash(bundle, PlanShape(**{**shape, **changes}), Question(terms_of(objective, 3)))

    assert key() == key(goal=1.0)
    # The same files under other names are another model.
    head = bundle.manifest.heads["value"].model_copy(update={"inputs": ["goal", "latent"]})
    renamed = replace(bundle, manifest=bundle.manifest.model_copy(update={"heads": {"value": head}}))
    assert key(bundle=renamed) != key()
    others = [key(planner="mppi"), key(known=2), key(guesses=3), key(norm_limit=1.0), key(cost=terms[:1]),
              key(config=PlannerConfig(elites=9))]  # fmt: skip
    assert len({key(), *others}) == 7


def test_terms_in_another_order_are_another_graph():
    """By its place a term finds its weight."""
    bundle = load_bundle(default_bundle())
    head, latent = (CostTerm(source=source, metric=metric, weight=weight) for source, metric, weight in (
        ("head:value", "value", 1.0), ("latent", "l2", 5.0)))  # fmt: skip
    last = head.model_copy(update={"steps": "last", "weight": 2.0})
    shape = PlanShape("cem", PlannerConfig(), 3, 3, 2, 64)

    def key(*terms):
        return content_hash(bundle, shape, Question([GoalTerm(terms, np.zeros(128, np.float32))]))

    assert key(head, latent, last) != key(head, last, latent)


class Named(Term):
    """Terms whose structure is the same, whatever they compute."""

    structure = "mine"

    def parameters(self):
        return {}

    def energy(self, imagined, parameters):
        raise NotImplementedError

    def descend(self, imagined, parameters, into):
        raise NotImplementedError


def test_another_class_or_another_source_is_another_graph(tmp_path, monkeypatch):
    bundle, shape = load_bundle(default_bundle()), PlanShape("cem", PlannerConfig(), 3, 3, 2, 64)

    def key(*terms):
        return content_hash(bundle, shape, Question(list(terms)))

    def written(formula):
        """The module of a user, as it is after an edit and a new start."""
        (tmp_path / "their_terms.py").write_text(f"{inspect.getsource(Named)}    formula = {formula}\n")
        shutil.rmtree(tmp_path / "__pycache__", ignore_errors=True)
        spec = importlib.util.spec_from_file_location("their_terms", tmp_path / "their_terms.py")
        module = importlib.util.module_from_spec(spec)
        module.Term = Term
        monkeypatch.setitem(sys.modules, "their_terms", module)
        spec.loader.exec_module(module)
        return module.Named()

    class Other(Named):
        pass

    first = key(written("'a + b'"))
    assert first == key(written("'a + b'"))
    assert len({first, key(written("'a * b'")), key(Named()), key(Other())}) == 4
    penalty = Penalty(ActionMagnitude(1.0), 1.0)
    assert key(PenaltyTerm(penalty, Named())) != key(PenaltyTerm(penalty, Other()))


def test_an_entry_that_another_process_has_just_made_stays(tmp_path):
    """It may be opening it: to remove it would take its weights away."""
    kept = PlanCache(tmp_path)

    def make():
        inode.append(PlanCache(tmp_path).get("a", graph).stat().st_ino)  # the other is faster
        return graph()

    inode = []
    assert kept.get("a", make).stat().st_ino == inode[0]


def test_an_error_of_the_graphs_own_is_none_of_the_cache(tmp_path, caplog):
    def fails():
        raise FileNotFoundError("predictor.onnx")

    with pytest.raises(FileNotFoundError, match="predictor"):
        PlanCache(tmp_path).get("a", fails)
    assert "cannot be written" not in caplog.text
