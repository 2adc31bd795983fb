"""Programs of unknown origin: whatever in an archive would run is refused before torch sees it."""

import contextlib
import io
import json
import pickle
import zipfile
from pathlib import Path

import pytest
import torch
from torch import nn

from jepa_ros.errors import BundleError
from jepa_ros_export.generic_example import Predictor, save
from jepa_ros_export.generic_programs import read_program

pytestmark = pytest.mark.families

MODEL, INPUTS = "models/model.json", "data/sample_inputs/model.pt"
WEIGHTS, CONSTANTS = "data/weights/model_weights_config.json", "data/constants/model_constants_config.json"


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    path = tmp_path_factory.mktemp("programs") / "plain.pt2"
    torch.manual_seed(0)
    save(Predictor(), (torch.randn(2, 3, 8), torch.randn(2, 3, 2)), path)
    return path


def altered(plain, path, **changes):
    """A copy with records changed by functions of their JSON, put in as bytes, or added."""
    with zipfile.ZipFile(plain) as old, zipfile.ZipFile(path, "w") as new:
        root = old.namelist()[0].split("/")[0]
        for record in old.namelist():
            change, content = changes.pop(record.partition("/")[2], None), old.read(record)
            if callable(change):
                found = json.loads(content)
                change(found)
                content = json.dumps(found).encode()
            new.writestr(record, content if change is None or callable(change) else change)
        for record, content in changes.items():
            new.writestr(f"{root}/{record}", content)
    return path


class Touch:
    """Pickled, it makes a file where it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (Path(self.path),)


def saved(thing):
    content = io.BytesIO()
    torch.save(thing, content)
    return content.getvalue()


def test_a_plain_program_is_what_torch_loads(plain):
    ours, theirs = read_program(plain).module(), torch.export.load(plain).module()
    inputs = torch.randn(4, 3, 8), torch.randn(4, 3, 2)
    assert torch.equal(ours(*inputs), theirs(*inputs))


def first(found):
    return next(iter(found["config"].values()))


def test_pickled_weights_are_refused_which_torch_unpickles(plain, tmp_path):
    """The guard is needed as long as `torch.export.load` does this."""
    mark = tmp_path / "ran"

    def pickled(found):
        first(found)["use_pickle"] = True

    record = "data/weights/weight_0"
    path = altered(plain, tmp_path / "bad.pt2", **{WEIGHTS: pickled, record: saved(Touch(mark))})
    with pytest.raises(BundleError, match=r"bad\.pt2: net\.1\.weight is a pickled object, and nothing is unpickled"):
        read_program(path)
    assert not mark.exists()
    with contextlib.suppress(Exception):
        torch.export.load(path)
    assert mark.exists(), "torch.export.load has become safe: simplify generic_programs"


def test_pickled_example_inputs_are_refused_which_torch_unpickles(plain, tmp_path):
    mark = tmp_path / "ran"
    path = altered(plain, tmp_path / "bad.pt2", **{INPUTS: saved(Touch(mark))})
    with pytest.raises(BundleError, match="example inputs are no plain tensors"):
        read_program(path)
    assert not mark.exists()
    with contextlib.suppress(Exception):
        torch.export.load(path)
    assert mark.exists(), "torch.export.load has become safe: simplify generic_programs"


def code_in_an_expression(mark):
    def change(found):
        metas = found["graph_module"]["graph"]["tensor_values"]
        size = next(s for meta in metas.values() for s in meta["sizes"] if "as_expr" in s)
        size["as_expr"]["expr_str"] = f"__import__('pathlib').Path('{mark}').touch() or 2"

    return change


def test_expressions_that_are_code_are_refused_which_torch_evaluates(plain, tmp_path):
    mark = tmp_path / "ran"
    path = altered(plain, tmp_path / "bad.pt2", **{MODEL: code_in_an_expression(mark)})
    with pytest.raises(BundleError, match=r"holds \"__import__.* where a name or an expression of sizes has to be"):
        read_program(path)
    assert not mark.exists()
    with contextlib.suppress(Exception):
        torch.export.load(path)
    assert mark.exists(), "torch.export.load has become safe: simplify generic_programs"


def test_guards_are_left_out(plain, tmp_path):
    mark = tmp_path / "ran"

    def guarded(found):
        found["guards_code"] = [f"__import__('pathlib').Path('{mark}').touch() is None"]

    program = read_program(altered(plain, tmp_path / "bad.pt2", **{MODEL: guarded}))
    program.module()(torch.randn(4, 3, 8), torch.randn(4, 3, 2))
    assert not mark.exists()


def target(name):
    def change(found):
        found["graph_module"]["graph"]["nodes"][-1]["target"] = name

    return change


def node_name(name):
    def change(found):
        found["graph_module"]["graph"]["nodes"][-1]["name"] = name

    return change


def constant_input(found):
    found["graph_module"]["signature"]["input_specs"].append({"constant_input": {"name": "x", "value": {"as_int": 1}}})


def named_input(found):
    signature = found["graph_module"]["module_call_graph"][0]["signature"]
    spec = json.loads(signature["in_spec"])
    spec[1]["children_spec"][1]["context"] = '["a"]'
    signature["in_spec"] = json.dumps(spec)


def nested_output(found):
    signature = found["graph_module"]["module_call_graph"][0]["signature"]
    spec = {"type": "builtins.dict", "context": '["a"]', "children_spec": [json.loads(signature["out_spec"])[1]]}
    signature["out_spec"] = json.dumps([1, spec])


def outside(found):
    first(found)["path_name"] = "../../../weights"


def on_cuda(found):
    first(found)["tensor_meta"]["device"] = {"type": "cuda", "index": 0}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({MODEL: target("torch.hub.load")}, r"calls torch\.hub\.load, which is no ATen operator"),
        ({MODEL: target("torch.ops.aten.from_file.default")}, "calls torch.ops.aten.from_file"),
        ({MODEL: target("torch.ops.aten.save.default")}, "calls torch.ops.aten.save"),
        ({MODEL: target("torch.ops.mine.op.default")}, "calls torch.ops.mine.op.default"),
        ({MODEL: target("_operator.methodcaller")}, "calls _operator.methodcaller"),
        ({MODEL: target("#mine:op")}, "calls #mine:op"),
        ({MODEL: node_name("x = exit()")}, r"holds 'x = exit\(\)' where a name"),
        ({MODEL: constant_input}, "holds constant_input values, not tensors and numbers alone"),
        ({MODEL: named_input}, "its inputs are named or nested; export a module of positional tensors"),
        ({MODEL: nested_output}, "its outputs are named or nested"),
        ({MODEL: b"{"}, "is not a program that torch.export.save of torch 2.13 has written"),
        ({MODEL: b"[]"}, "is not a program that torch.export.save of torch 2.13 has written"),
        ({MODEL: b"{}"}, "is not a program that torch.export.save of torch 2.13 has written"),
        ({WEIGHTS: outside}, r"net\.1\.weight is a pickled object"),
        ({WEIGHTS: on_cuda}, r"net\.1\.weight lies on cuda; export on the CPU"),
        ({"data/aotinductor/model/model.so": b"ELF"}, "holds data/aotinductor/model/model.so, which is no tensor"),
        ({"data/weights/model.pt": b""}, "holds data/weights/model.pt, which is no tensor"),
        ({"data/constants/opaque_obj_0": pickle.dumps(3)}, "holds data/constants/opaque_obj_0, which is no tensor"),
        ({INPUTS: saved(((3,), {}))}, "example inputs are not positional tensors"),
        ({INPUTS: saved(((), {"x": torch.zeros(1)}))}, "example inputs are not positional tensors"),
        ({INPUTS: b"nothing"}, "example inputs are no plain tensors"),
        ({"data/weights/weight_0": b"123"}, "torch cannot load it"),
    ],
)
def test_an_archive_of_anything_else_is_refused(plain, tmp_path, changes, says):
    with pytest.raises(BundleError, match=rf"^program .*bad\.pt2: .*{says}"):
        read_program(altered(plain, tmp_path / "bad.pt2", **changes))


def test_two_programs_or_two_records_of_a_name_are_refused(plain, tmp_path):
    with zipfile.ZipFile(altered(plain, tmp_path / "two.pt2"), "a") as file:
        file.writestr("other/models/model.json", "{}")
    with pytest.raises(BundleError, match="is not one program"):
        read_program(tmp_path / "two.pt2")
    altered(plain, tmp_path / "twice.pt2")
    with zipfile.ZipFile(tmp_path / "twice.pt2", "a") as file:
        record = next(name for name in file.namelist() if name.endswith(MODEL))
        with pytest.warns(UserWarning, match="Duplicate name"):
            file.writestr(record, "{}")
    with pytest.raises(BundleError, match="is not one program"):
        read_program(tmp_path / "twice.pt2")


def test_what_is_no_program_is_refused(tmp_path):
    torch.save(nn.Linear(2, 2).state_dict(), tmp_path / "weights.pt2")
    (tmp_path / "text.pt2").write_text("nothing")
    with pytest.raises(BundleError, match=r"weights\.pt2: holds data\.pkl, which is no tensor"):
        read_program(tmp_path / "weights.pt2")
    with pytest.raises(BundleError, match=r"text\.pt2: is not a program"):
        read_program(tmp_path / "text.pt2")
