"""How each published family's images are made: the fields of `CameraSpec` that its exporter writes into the manifest.
`tests/export/test_preprocessing.py` holds each against the family's own order of operations.

Scaling by means and deviations is not here: it goes into the encoder's graph, behind the uint8 image. Field of view,
mount and name are the training camera's, and so the exporter's to add.
"""

from __future__ import annotations

from typing import Any

CAMERAS: dict[str, dict[str, Any]] = {
    # facebookresearch/vjepa2, app/vjepa_droid/transforms.py as notebooks/energy_landscape_example.ipynb calls it: the
    # middle square, then F.interpolate(bilinear, align_corners=False), which does not average. Its training
    # (configs/train/vitg16/droid-256px-8f.yaml) allows shapes up to 1.35, so DROID's 16:9 frames were cut to 972×720
    # of 1280×720 and squeezed; for that on such a camera: resize "stretch", crop (0, 0, 154 / 1280, 154 / 1280).
    # The encoder's graph repeats the frame for its tubelet of two.
    "vjepa2_ac": {"width": 256, "height": 256, "resize": "center_crop", "interpolation": "linear", "antialias": False},
    # gaoyuezhou/dino_wm, datasets/img_transforms.py: Resize(224), CenterCrop(224) on float tensors, averaged
    # (torchvision 0.18). models/visual_world_model.py resizes once more, to 196, averaged: that one goes into the
    # encoder's graph, because a resize of a resize is not one resize.
    "dino_wm": {
        "width": 224,
        "height": 224,
        "resize": "resize_center_crop",
        "resize_to": 224,
        "interpolation": "linear",
        "antialias": True,
    },
    # facebookresearch/jepa-wms, app/plan_common/datasets/transforms.py with the "vjtranoaug" configurations' shape of
    # 1: as V-JEPA 2-AC, at 224. The simulators render 224×224, where it changes nothing.
    "jepa_wms_sim": {
        "width": 224,
        "height": 224,
        "resize": "center_crop",
        "interpolation": "linear",
        "antialias": False,
    },
    # The same with configs/vjepa_wm/droid_final_sweep/…_r256_dv3vitl_asp1_…: shape 1, 256.
    "jepa_wms_droid": {
        "width": 256,
        "height": 256,
        "resize": "center_crop",
        "interpolation": "linear",
        "antialias": False,
    },
    # lucas-maes/le-wm, eval.py and utils.py: ToDtype(float), Normalize, then v2.Resize(224), averaged. It crops
    # nothing, since its worlds render squares; of a wider camera the middle is kept.
    "lewm": {
        "width": 224,
        "height": 224,
        "resize": "resize_center_crop",
        "resize_to": 224,
        "interpolation": "linear",
        "antialias": True,
    },
    # PLDM, environments/diverse_maze/transforms.py: CenterCrop(200 to 386, by maze) of the render, Resize(64, or 81
    # for the medium mazes) on PIL images. The exporter adds a maze's crop: (500 − 346) / 1000 of each side for "small".
    # Its two-room images, 65×65 of two channels, are ready-made as EB-JEPA's are, and nothing is resized.
    "pldm": {"width": 64, "height": 64, "resize": "center_crop", "interpolation": "linear", "antialias": True},
    # EB-JEPA, eb_jepa/datasets/two_rooms/env.py: a dot and the walls, drawn as two channels of 65×65; no camera gives
    # them, and nothing is resized. Of a camera whose frames it was trained on instead, the middle square is taken.
    "eb_jepa": {"width": 65, "height": 65, "channels": 2, "resize": "center_crop", "interpolation": "area"},
    # nicklashansen/tdmpc2, tdmpc2/envs/wrappers/pixels.py: rendered at 64×64, three frames. Nothing is resized there;
    # of a real camera's pixels, area's mean comes nearest to what a renderer of that size gives.
    "tdmpc2": {"width": 64, "height": 64, "resize": "center_crop", "interpolation": "area", "frame_stack": 3},
    # transformers, ViTImageProcessor as the I-JEPA conversion sets it: the whole image squeezed to the square, PIL
    # bilinear. ijepa_vith16_1k takes 448.
    "ijepa": {"width": 224, "height": 224, "resize": "stretch", "interpolation": "linear", "antialias": True},
    # transformers, VJEPA2VideoProcessor: shortest edge int(256 · 256 / 224), bilinear on uint8 tensors, averaged, then
    # the middle. (The project's own evaluation does the same without averaging: antialias False.)
    "vjepa2": {
        "width": 256,
        "height": 256,
        "resize": "resize_center_crop",
        "resize_to": 292,
        "interpolation": "linear",
        "antialias": True,
    },
    # transformers, BitImageProcessor as the DINOv2 checkpoints set it, and the project's own evaluation: shortest edge
    # 256, PIL bicubic, then the middle 224.
    "dinov2": {
        "width": 224,
        "height": 224,
        "resize": "resize_center_crop",
        "resize_to": 256,
        "interpolation": "cubic",
        "antialias": True,
    },
    # transformers, DINOv3ViTImageProcessor: scaled to floats, then the whole image squeezed to the square, averaged.
    "dinov3": {"width": 224, "height": 224, "resize": "stretch", "interpolation": "linear", "antialias": True},
}
