"""YAML from anybody: plain values or one sentence, in time in proportion to its size."""

from __future__ import annotations

import time
from contextlib import suppress

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jepa_ros.plain_yaml import DEEPEST, read_yaml


def written(folder, text):
    path = folder / "page.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def merges(levels):
    """Each level merges the one before nine times: safe_load makes 9^levels pairs of it."""
    lines = ["a0: &a0 {x: 1}"]
    for level in range(1, levels):
        before = ", ".join([f"*a{level - 1}"] * 9)
        lines.append(f"a{level}: &a{level} {{<<: [{before}]}}")
    return "\n".join(lines)


def test_plain_values(tmp_path):
    text = "a: [1, 2.5, true, null, text]\nb:\n  c: 'quoted'\n  d: ! also quoted\n"
    assert read_yaml(written(tmp_path, text)) == {
        "a": [1, 2.5, True, None, "text"], "b": {"c": "quoted", "d": "also quoted"},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (merges(12), r"line 1: it uses an anchor or alias, &a0"),
        ("a: *b", r"line 1: it uses an anchor or alias, &b"),
        ("a: 1\nb: !!python/object/apply:os.system [echo]", r"line 2: it uses a tag, tag:yaml\.org,2002:python"),
        ("a: !!binary aGVsbG8=", r"line 1: it uses a tag, .*binary"),
        ("a: !own 1", r"line 1: it uses a tag, !own"),
        ("[" * 100_000, rf"line 1: it is nested deeper than {DEEPEST} levels"),
        ("{a: " * 50_000, "it is nested deeper"),
        ("\n".join("  " * level + f"a{level}:" for level in range(500)), rf"line {DEEPEST + 1}: it is nested deeper"),
        ("a: " + "1" * 5000, "line 1: it has a value of 5000 characters without quotes"),
        ("a: 2024-13-45", "a value cannot be read: month must be in"),
        ("a: 1:" + ":".join(["59"] * 50_000), "line 1: it has a value of 150001 characters without quotes"),
        ("x" * (2**18 + 1), "it is larger than 262144 bytes"),
    ],
    ids=["merge keys", "alias", "python", "binary", "own", "lists", "mappings", "blocks", "digits", "date", "base 60",
         "large"],
)  # fmt: skip
def test_what_is_not_plain(tmp_path, text, sentence):
    path, began = written(tmp_path, text), time.process_time()
    with pytest.raises(yaml.YAMLError, match=sentence):
        read_yaml(path)
    assert time.process_time() - began < 3.0  # of the CPU, 0.2 s; the machine may have other work


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.one_of(st.text(max_size=200), st.text(alphabet="[]{}:,-&*!<>'\"|?#% \n\tab1.", max_size=60), st.binary()))
def test_any_bytes_end_in_a_value_or_in_one_of_two_errors(tmp_path, text):
    with suppress(yaml.YAMLError, UnicodeDecodeError):
        read_yaml(written(tmp_path, text.encode(errors="surrogatepass") if isinstance(text, str) else text))
