"""Installs the rooms under their import names; metadata that pip and colcon both need stands here."""

from pathlib import Path

from setuptools import find_packages, setup

ROOMS = {
    "jepa_ros": "jepa_ros",
    "jepa_ros_nodes": "nodes",
    "jepa_ros_export": "export",
    "jepa_ros_training": "training",
    "jepa_ros_simulation": "simulation",
    "jepa_ros_replay": "replay",
    "jepa_ros_benchmarks": "benchmarks",
}
packages = [name + ("." + sub if sub else "") for name, folder in ROOMS.items() for sub in ["", *find_packages(folder)]]


def shared(folder: str, *patterns: str) -> list[tuple[str, list[str]]]:
    """Files of a folder, as they go under share/jepa_ros."""
    found: dict[str, list[str]] = {}
    for pattern in patterns:
        for path in sorted(Path(folder).rglob(pattern)):
            found.setdefault(f"share/jepa_ros/{path.parent.as_posix()}", []).append(path.as_posix())
    return list(found.items())


setup(
    name="jepa_ros",
    version="0.1.0",
    description="Run any trained JEPA world model on a ROS 2 robot",
    license="Apache-2.0",
    maintainer="jepa_ros maintainers",
    maintainer_email="maintainers@jepa-ros.dev",
    python_requires=">=3.10",
    packages=packages,
    # colcon --symlink-install refuses a folder that is mapped to its own name
    package_dir={name: folder for name, folder in ROOMS.items() if name != folder},
    package_data={"jepa_ros.robots": ["*.yaml", "*/*.onnx", "*/*.urdf", "*/LICENSE", "*/NOTICE"]},
    data_files=[
        ("share/ament_index/resource_index/packages", ["resource/jepa_ros"]),
        ("share/jepa_ros", ["package.xml"]),
        *shared("launch", "*.launch.py"),
        *shared("config", "*.yaml", "*.xml"),
        *shared("bundles", "*.onnx", "*.yaml", "*.npz", "*.png", "*.md", "*.sig"),
    ],
    install_requires=[
        "numpy>=1.24",
        "onnx>=1.15",
        "opencv-python-headless>=4.8",
        "pillow>=9.1",
        "pydantic>=2.5",
        "pyyaml>=6",
        "rich>=13",
        "typer>=0.12",
    ],
    extras_require={
        "cpu": ["onnxruntime>=1.17"],
        "gpu": ["onnxruntime-gpu>=1.17"],
        "sim": ["av>=12", "mujoco>=3.2", "matplotlib>=3.7"],
        "record": ["mcap>=1.6", "rosbags>=0.11", "zstandard>=0.22"],
        "replay": ["matplotlib>=3.7", "mcap>=1.6", "rosbags>=0.11", "zstandard>=0.22"],
        "sign": ["cryptography>=42"],
        "go2": ["av>=12"],
        "ray": ["ray>=2.9"],
        "export": ["torch>=2.4", "onnxscript>=0.2", "safetensors>=0.4", "transformers>=4.56"],
        "train": ["torch>=2.4"],
        "dev": [
            "colcon-common-extensions",
            "hypothesis>=6",
            "import-linter>=2",
            "mypy>=1.10",
            "pytest>=8",
            "pytest-timeout>=2",
            "ruff>=0.6",
            "types-PyYAML",
        ],
    },
    tests_require=["pytest"],
    zip_safe=False,
    entry_points={
        "console_scripts": [
            "world_model = jepa_ros_nodes.world_model_node:main",
            "joint_command = jepa_ros_nodes.joint_command_node:main",
            "command_watchdog = jepa_ros_nodes.command_watchdog_node:main",
            "sim_dog = jepa_ros_nodes.sim_dog_node:main",
            "recorder = jepa_ros_nodes.recorder_node:main",
            "player = jepa_ros_nodes.player_node:main",
            "preflight = jepa_ros_nodes.preflight:main",
            "jepa-preflight = jepa_ros_nodes.preflight:main",
            "robot_description = jepa_ros_nodes.robot_description_node:main",
            "go2_bridge = jepa_ros_nodes.unitree.bridge_node:main",
            "go2_camera = jepa_ros_nodes.unitree.camera_node:main",
            "jepa-bundle = jepa_ros.bundle.cli:main",
            "jepa-record = jepa_ros_nodes.record:main",
            "jepa-replay = jepa_ros_replay.cli:main",
            "jepa-export = jepa_ros_export.cli:main",
            "jepa-bench = jepa_ros_benchmarks.cli:main",
        ],
    },
)
