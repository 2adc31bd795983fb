"""The examples of docs/families: their commands and code are run as they stand there, on a tiny model."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
import yaml
from typer.testing import CliRunner

from jepa_ros.bundle import cli as bundle_cli
from jepa_ros_export import cli as export_cli
from jepa_ros_export.families import FAMILIES, family_module

PAGES = Path(__file__).resolve().parents[2] / "docs" / "families"
TOOLS = {"jepa-export": export_cli.app, "jepa-bundle": bundle_cli.app}


@contextmanager
def chdir(folder: Path) -> Iterator[None]:
    """As contextlib's, which Python 3.10 has not."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def page_name(family: str) -> str:
    """As the command line and the page call it."""
    return family.replace("_", "-")


def blocks(family: str, language: str) -> list[str]:
    """The code blocks of a language on a family's page, in order."""
    text = (PAGES / f"{page_name(family)}.md").read_text()
    return re.findall(rf"^```{language}\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)


def write_inputs(family: str, folder: Path) -> None:
    """What the page's example starts from: a checkpoint of random weights, and the settings of a tiny model."""
    module, name = family_module(family), page_name(family)
    if hasattr(module, "write_example"):
        module.write_example(folder)
        return
    config = module.tiny()
    torch.manual_seed(1)
    torch.save(module.random_checkpoint(config), folder / f"{name}.pt")
    (folder / f"{name}.yaml").write_text(yaml.safe_dump(config.model_dump(mode="json")))


def run(line: str, folder: Path) -> tuple[int, str]:
    """Exit code and output of one command line, in this process, in a folder."""
    tool, *arguments = shlex.split(line)
    with chdir(folder):
        done = CliRunner().invoke(TOOLS[tool], arguments, env={"COLUMNS": "400"})
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code, done.output


def export_as_the_page_says(family: str, folder: Path) -> str:
    """Run the page's shell block; returns what it printed."""
    write_inputs(family, folder)
    printed = ""
    for line in blocks(family, "bash")[-1].replace("\\\n", " ").splitlines():
        if line.strip() and not line.startswith("#"):
            code, output = run(line, folder)
            assert code == 0, f"{line}\n{output}"
            printed += output
    return printed


def run_the_code(family: str, folder: Path) -> dict[str, object]:
    """Execute the page's last block of Python in a folder; returns its names."""
    names: dict[str, object] = {}
    with chdir(folder):
        exec(compile(blocks(family, "python")[-1], f"docs/families/{page_name(family)}.md", "exec"), names)
    return names


__all__ = ["FAMILIES", "blocks", "export_as_the_page_says", "page_name", "run", "run_the_code", "write_inputs"]
