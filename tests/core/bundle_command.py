"""`jepa-bundle` as people type it, and bundles that differ."""

from __future__ import annotations

import re
import shutil

from typer.testing import CliRunner

from jepa_ros.bundle.cli import app
from jepa_ros.bundle.loader import write_manifest
from jepa_ros.bundle.manifest import read_manifest


def invoke(*arguments, typed=None):
    """Exit code and what was printed, in single spaces and without colours or frames."""
    found = CliRunner().invoke(app, [str(argument) for argument in arguments], input=typed, env={"COLUMNS": "160"})
    if found.exception is not None and not isinstance(found.exception, SystemExit):
        raise found.exception
    return found.exit_code, " ".join(re.sub(r"\x1b\[[0-9;]*m|[│┃╭╮╰╯─]", "", found.output).split())


def rehashed(folder, **changes):
    write_manifest(folder, read_manifest(folder).model_copy(update={**changes, "files": {}}))
    return folder


def copy(folder):
    return shutil.copytree(folder, folder.with_name("copy"))
