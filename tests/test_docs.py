"""What the README and docs tell people to type exists: targets, modules, options, launch arguments, files, links."""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FAMILIES = sorted((ROOT / "docs" / "families").glob("*.md"))
PAGES = [
    ROOT / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
    *FAMILIES,
    *sorted((ROOT / "bundles").glob("*/README.md")),
]
FENCE = re.compile(r"```bash\n(.*?)```", re.DOTALL)
LINK = re.compile(r"\]\(([^)#\s]+)\)")


def commands():
    """Every line in a bash block, without its comment, with the page it stands on."""
    for page in PAGES:
        for block in FENCE.findall(page.read_text()):
            for line in block.replace("\\\n", " ").splitlines():
                words = shlex.split(line, comments=True)
                if words:
                    yield pytest.param(words, id=f"{page.name}: {' '.join(words)[:60]}")


@cache
def help_of(*command):
    environment = {**os.environ, "COLUMNS": "200", "TERM": "dumb", "NO_COLOR": "1"}
    line = [sys.executable, "-m", *command, "--help"]
    done = subprocess.run(line, check=False, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    return re.sub(r"\x1b\[[0-9;]*m", "", done.stdout)


def check_module(words):
    module, arguments = words[0], words[1:]
    if module in ("pytest",):
        return
    assert importlib.util.find_spec(module), f"no module {module}"
    if module.startswith(("jepa_ros_export", "jepa_ros_training")):
        pytest.importorskip("torch")
    sub = [arguments[0]] if module.endswith(".cli") else []
    text = help_of(module, *sub)
    check_options(module, arguments, text)


def check_options(name, arguments, text):
    for option in (word.partition("=")[0] for word in arguments if word.startswith("--")):
        assert re.search(rf"(?<![\w-]){option}(?![\w-])", text), f"{name} has no {option}"


def check_tool(words):
    """A console script, found by its entry in setup.py: it need not be installed anew to be checked."""
    name, arguments = words[0], words[1:]
    entry = re.search(rf'"{name} = ([\w.]+):\w+"', (ROOT / "setup.py").read_text())
    assert entry, f"setup.py has no {name}"
    if entry[1].startswith("jepa_ros_nodes"):
        pytest.importorskip("rclpy")
    if name == "jepa-export":
        pytest.importorskip("torch")
    sub = [arguments[0]] if name in ("jepa-bundle", "jepa-export", "jepa-bench") else []
    check_options(name, arguments, help_of(entry[1], *sub))


@cache
def launch_arguments(name):
    pytest.importorskip("rclpy")
    from jepa_ros_nodes.launching import launch_command

    line = [*launch_command(ROOT / "launch" / name, {}), "--show-args"]
    done = subprocess.run(line, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return set(re.findall(r"^\s*'(\w+)':", done.stdout, re.MULTILINE))


def check_launch(words):
    name, arguments = words[0], words[1:]
    has = launch_arguments(name)
    for word in arguments:
        assert word.startswith("--") or word.partition(":=")[0] in has, f"{name} has no argument {word}"


def check(words):
    head, rest = words[0], words[1:]
    if head in ("export", "cd", "git", "cp", "apt-get", "pip", "ros2", "colcon"):
        return
    if head == "source":
        assert (ROOT / rest[0]).is_file()
    elif head == "make":
        targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
        assert rest[0] in targets
        for value in (word.removeprefix("ARGS=") for word in rest[1:] if word.startswith("ARGS=")):
            assert rest[0] in ("demo", "test")
            check_module(["jepa_ros_nodes.demo" if rest[0] == "demo" else "pytest", *shlex.split(value)])
    elif head == "python":
        assert rest[0] == "-m"
        check_module(rest[1:])
    elif head == "jepa-launch":
        check_launch(rest)
    elif head in ("jepa-bundle", "jepa-export", "jepa-replay", "jepa-record", "jepa-bench", "jepa-preflight"):
        check_tool(words)
    else:
        path = ROOT / head
        assert path.is_file(), f"no command {head}"


@pytest.mark.parametrize("words", list(commands()))
def test_every_command_exists(words):
    check(words)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page):
    for target in LINK.findall(page.read_text()):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_every_page_of_docs_is_in_the_readme():
    text = (ROOT / "README.md").read_text()
    for page in (ROOT / "docs").glob("*.md"):
        assert f"docs/{page.name}" in text
    text = (ROOT / "docs" / "families.md").read_text()
    for page in FAMILIES:
        assert f"families/{page.name}" in text
