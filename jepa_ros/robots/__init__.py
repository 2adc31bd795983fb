"""Robot descriptions: joints, limits, stances and gains, one YAML a robot."""

from jepa_ros.robots.model import RobotModel, load_robot

__all__ = ["RobotModel", "load_robot"]
