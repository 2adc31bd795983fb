"""A bundle's folder: complete, or what was there before."""

from __future__ import annotations

import contextlib
import json
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


# ---- what a killed export left


def killed(tmp_path: Path, moved_aside: bool = False) -> None:
    """An export to `tmp_path / "b"` that is killed: while it writes, or between its two moves."""
    lines = ["import os, signal, time", "from pathlib import Path", "from jepa_ros_export.folder import replacing"]
    if moved_aside:
        lines += [
            "rename = Path.rename",
            "Path.rename = lambda a, b: os.kill(os.getpid(), signal.SIGKILL) if a.name == 'new' else rename(a, b)",
        ]
    lines += ["with replacing(Path('b')) as made:", "    (made / 'manifest.yaml').write_text('half')"]
    if not moved_aside:
        lines.append("    os.kill(os.getpid(), signal.SIGKILL)")
    done = subprocess.run([sys.executable, "-c", "\n".join(lines)], cwd=tmp_path, check=False)
    assert done.returncode == -signal.SIGKILL


def left(tmp_path: Path) -> list[Path]:
    return sorted(path for path in tmp_path.iterdir() if path.name.startswith("."))


def test_the_next_export_removes_what_a_killed_one_left(tmp_path, caplog):
    killed(tmp_path)
    (work,) = left(tmp_path)
    write(tmp_path / "b")
    assert [path.name for path in tmp_path.iterdir()] == ["b"]
    assert (tmp_path / "b" / "manifest.yaml").read_text() == "new"
    assert caplog.messages == [f"export: removed {work}, which an export that was killed had left"]


def test_a_bundle_that_was_moved_aside_is_put_back(tmp_path, caplog):
    """Even where the next export fails."""
    out = bundle(tmp_path / "b")
    killed(tmp_path, moved_aside=True)
    assert not out.exists()
    with pytest.raises(ValueError, match="failed"), replacing(out):
        raise ValueError("failed")
    assert (out / "goals" / "south.png").read_text() == "old"
    assert left(tmp_path) == []
    (line,) = caplog.messages
    assert line.endswith("; the bundle that it had moved aside is in its place again")


def test_a_living_export_is_left_alone(tmp_path):
    with replacing(tmp_path / "b") as made:
        write(tmp_path / "b", "another's")
        assert made.is_dir()
        (made / "manifest.yaml").write_text("new")
    assert (tmp_path / "b" / "manifest.yaml").read_text() == "new"


def foreign(work: Path, **said: object) -> None:
    owner = work / "owner.json"
    owner.write_text(json.dumps({**json.loads(owner.read_text()), **said}))


@pytest.mark.parametrize(
    "change",
    [
        lambda work: (work / "owner.json").unlink(),
        lambda work: (work / "owner.json").write_text(""),
        lambda work: (work / "owner.json").write_text("[]"),
        lambda work: foreign(work, boot="of another machine, or before it was started again"),
        lambda work: foreign(work, export="b.other"),
    ],
    ids=["unsigned", "being signed", "other", "other boot", "other place"],
)
def test_what_is_not_certainly_dead_and_for_this_place_stays(tmp_path, change, caplog):
    killed(tmp_path)
    (work,) = left(tmp_path)
    change(work)
    write(tmp_path / "b")
    assert left(tmp_path) == [work]
    assert (work / "new" / "manifest.yaml").read_text() == "half"
    assert caplog.messages == []


def test_a_link_to_a_leftover_is_not_followed(tmp_path):
    killed(tmp_path)
    (work,) = left(tmp_path)
    work.rename(tmp_path / "kept")
    (tmp_path / ".b.link").symlink_to(tmp_path / "kept")
    write(tmp_path / "b")
    assert (tmp_path / "kept" / "new" / "manifest.yaml").exists()
