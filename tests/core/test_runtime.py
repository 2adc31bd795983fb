"""Sessions on ONNX Runtime: providers, refusals, bound buffers."""

from __future__ import annotations

import numpy as np
import pytest

from jepa_ros.errors import ModelError
from jepa_ros.runtime import Session, choose_providers


def test_the_cpu_can_always_be_asked_for():
    assert choose_providers(("CPUExecutionProvider",)) == ("CPUExecutionProvider",)
    assert choose_providers()[-1] == "CPUExecutionProvider"


def test_a_provider_that_is_not_installed():
    with pytest.raises(ModelError, match=r"NoneExecutionProvider is not installed; this ONNX Runtime has .*CPU"):
        choose_providers(("NoneExecutionProvider",))


def test_a_graph_that_cannot_be_opened(tmp_path):
    with pytest.raises(ModelError, match="no such file"):
        Session(tmp_path / "none.onnx")
    (tmp_path / "bad.onnx").write_bytes(b"\x00\x01")
    with pytest.raises(ModelError, match="cannot be opened"):
        Session(tmp_path / "bad.onnx")


def test_a_graph_that_is_given_what_it_does_not_take(tiny_bundle):
    session = Session(tiny_bundle / "encoder.onnx")
    assert session.inputs["image"][1] == "tensor(uint8)"
    with pytest.raises(ModelError, match=r"encoder\.onnx"):
        session.run(image=np.zeros((1, 2, 2, 3), np.uint8))


def test_bound_buffers_are_read_and_written_in_place(tiny_bundle):
    session = Session(tiny_bundle / "encoder.onnx")
    image, latent = np.zeros((1, 16, 16, 3), np.uint8), np.ones((1, 8), np.float32)
    run = session.bind({"image": image}, {"latent": latent})
    run()
    assert not latent.any()
    image[:] = 255
    run()
    np.testing.assert_allclose(latent, session.run(image=image)["latent"])


@pytest.mark.parametrize(
    ("image", "latent"),
    [
        (np.zeros((1, 2, 2, 3), np.uint8), np.zeros((1, 8), np.float32)),
        (np.zeros((1, 16, 16, 3), np.float32), np.zeros((1, 8), np.float32)),
        (np.zeros((2, 16, 16, 3), np.uint8), np.zeros((1, 8), np.float32)),
    ],
    ids=["size", "type", "batch"],
)
def test_bound_buffers_that_the_graph_does_not_take(tiny_bundle, image, latent):
    run = Session(tiny_bundle / "encoder.onnx").bind({"image": image}, {"latent": latent})
    with pytest.raises(ModelError, match=r"^graph encoder\.onnx: .+") as caught:
        run()
    assert "\n" not in str(caught.value)


def test_buffers_bound_to_a_name_that_the_graph_does_not_have(tiny_bundle):
    session = Session(tiny_bundle / "encoder.onnx")
    with pytest.raises(ModelError, match=r"^graph encoder\.onnx: .+"):
        session.bind({"picture": np.zeros((1, 16, 16, 3), np.uint8)}, {"latent": np.zeros((1, 8), np.float32)})
