"""A bundle's folder: complete, or what was there before."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from jepa_ros.errors import BundleError
from jepa_ros_export import folder as module
from jepa_ros_export.folder import replacing


def bundle(path: Path, text: str = "old") -> Path:
    (path / "goals").mkdir(parents=True)
    (path / "manifest.yaml").write_text(text)
    (path / "goals" / "south.png").write_text(text)
    return path


def write(out: Path, text: str = "new") -> None:
    with replacing(out) as made:
        (made / "manifest.yaml").write_text(text)


def test_a_new_one_replaces_an_old_one_whole(tmp_path):
    out = bundle(tmp_path / "b")
    write(out)
    assert [path.name for path in out.iterdir()] == ["manifest.yaml"]
    assert (out / "manifest.yaml").read_text() == "new"
    assert out.stat().st_mode & 0o777 == 0o755
    assert [path.name for path in tmp_path.iterdir()] == ["b"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_what_ends_the_body_leaves_the_old_one(tmp_path, error):
    out = bundle(tmp_path / "b")

    def ended() -> None:
        with replacing(out) as made:
            (made / "manifest.yaml").write_text("new")
            raise error

    with pytest.raises(error):
        ended()
    assert (out / "goals" / "south.png").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["b"]


def test_an_interrupt_while_the_old_one_is_deleted_leaves_the_new_one(tmp_path, monkeypatch):
    out = bundle(tmp_path / "b")

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(module.shutil, "rmtree", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write(out)
    assert (out / "manifest.yaml").read_text() == "new"


def test_a_new_one_that_cannot_be_moved_in_leaves_the_old_one(tmp_path, monkeypatch):
    out, rename = bundle(tmp_path / "b"), Path.rename

    def failing(self, target):
        if self.name == "new":
            raise OSError("no space")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises(OSError, match="no space"):
        write(out)
    assert (out / "goals" / "south.png").read_text() == "old"


def test_where_a_link_leads_is_replaced(tmp_path):
    target = bundle(tmp_path / "v1")
    (tmp_path / "current").symlink_to(target)
    write(tmp_path / "current")
    assert (tmp_path / "current").is_symlink()
    assert (target / "manifest.yaml").read_text() == "new"


def test_what_is_no_bundle_stays(tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.tex").write_text("")
    with pytest.raises(BundleError, match="exists and is not a bundle"):
        write(tmp_path / "thesis")
    assert (tmp_path / "thesis" / "chapter.tex").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_nothing_half_written(tmp_path, number):
    line = [sys.executable, "-m", "jepa_ros_export.cli", "lewm", "--random-weights", "tiny", "--out", "b"]
    with subprocess.Popen(line, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        until = time.monotonic() + 120
        while not os.listdir(tmp_path):
            assert time.monotonic() < until, "the export has not begun"
            time.sleep(0.05)
        # Again until it has ended, as one does by hand: Python drops an exception that a signal raises inside a
        # finalizer.
        while process.poll() is None:
            assert time.monotonic() < until, "the export does not end"
            process.send_signal(number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(2)
    assert process.returncode in (128 + number, -number), "a shell shows both as the former"
    assert os.listdir(tmp_path) == []
