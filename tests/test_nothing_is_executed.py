"""No room of the project runs what it reads: nothing is unpickled, evaluated or handed to a shell."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ROOMS = (
    "jepa_ros", "nodes", "export", "training", "simulation", "replay", "benchmarks", "launch", "scripts",
    "ros_ws/standins",
)  # fmt: skip
FILES = sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py") if "build" not in path.parts)

BUILTINS = {"eval", "exec", "compile", "__import__", "input"}
UNPICKLERS = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}
CALLS = {
    "os.system", "os.popen", "yaml.load", "yaml.load_all", "yaml.full_load", "yaml.full_load_all", "yaml.unsafe_load",
    "yaml.unsafe_load_all", "torch.jit.load", "torch.package.PackageImporter", "torch.hub.load", "np.fromregex",
    "numpy.load", "cv2.FileStorage", "subprocess.getoutput", "subprocess.getstatusoutput", "runpy.run_path",
}  # fmt: skip
NEEDED = {"np.load": ("allow_pickle", False), "torch.load": ("weights_only", True)}
# What is a program by its nature: a launch file, in the stand-in for `ros2 launch`, which takes it as Python.
ALLOWED = {
    ("ros_ws/standins/launch/substitutions.py", "eval"),  # PythonExpression, whose text is the launch file's
}


def dotted(node: ast.expr) -> str:
    """`a.b.c` of an expression of names; empty for any other."""
    if isinstance(node, ast.Name):
        return node.id
    inner = dotted(node.value) if isinstance(node, ast.Attribute) else ""
    return f"{inner}.{node.attr}" if inner and isinstance(node, ast.Attribute) else ""


def findings(source: str) -> list[str]:
    """What a source file does that none may."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [f"import {name.name} as" for name in node.names if name.name in UNPICKLERS and name.asname]
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] in UNPICKLERS:
            found.append(f"from {node.module} import")
        # pickle's errors are caught, where torch raises them
        if isinstance(node, ast.Attribute) and not node.attr.endswith("Error"):
            found += [dotted(node)] if dotted(node).partition(".")[0] in UNPICKLERS else []
        if not isinstance(node, ast.Call):
            continue
        name = dotted(node.func)
        keywords = {word.arg: word.value.value for word in node.keywords if isinstance(word.value, ast.Constant)}
        if name in BUILTINS | CALLS:
            found.append(name)
        if name in NEEDED and keywords.get(NEEDED[name][0]) is not NEEDED[name][1]:
            found.append(f"{name} without {NEEDED[name][0]}={NEEDED[name][1]}")
        if any(word.arg == "shell" and keywords.get("shell", True) is not False for word in node.keywords):
            found.append(f"{name} with a shell")
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_file_runs_nothing_that_it_reads(path):
    name = path.relative_to(ROOT).as_posix()
    assert [what for what in findings(path.read_text()) if (name, what) not in ALLOWED] == []


def test_what_strangers_write_is_read_with_bounds():
    """Bundles, robots, recordings and settings: by `jepa_ros.plain_yaml` alone. The rest reads its own files."""
    for path in (path for path in FILES if path.relative_to(ROOT).parts[0] not in ("benchmarks", "scripts", "ros_ws")):
        calls = {dotted(node.func) for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)}
        assert "yaml.safe_load" not in calls or path.name == "plain_yaml.py", path


@pytest.mark.parametrize(
    "source",
    [
        "import pickle\npickle.loads(b'')", "import pickle as p", "from pickle import loads", "eval('1')", "exec('1')",
        "import yaml\nyaml.load(x, Loader=yaml.Loader)", "yaml.unsafe_load(x)", "np.load(x)",
        "np.load(x, allow_pickle=True)", "np.load(x, allow_pickle=y)", "torch.load(x)",
        "torch.load(x, weights_only=False)",
        "subprocess.run(x, shell=True)", "subprocess.run(x, shell=y)", "os.system('ls')", "joblib.load(x)",
    ],
)  # fmt: skip
def test_what_it_finds(source):
    assert findings(source)


@pytest.mark.parametrize(
    "source",
    [
        "model.eval()", "yaml.safe_load(x)", "np.load(x, allow_pickle=False)", "torch.load(x, weights_only=True)",
        "import pickle\ntry: f()\nexcept pickle.UnpicklingError: pass", "subprocess.run(x)", "re.compile('a')",
    ],
)  # fmt: skip
def test_what_it_leaves_alone(source):
    assert findings(source) == []
