"""Plans to joint commands: which action holds now, the motion that carries it out, and the safety filter after it."""

from jepa_ros.control.autostart import AutoStart
from jepa_ros.control.controller import JointController, Tick
from jepa_ros.control.grid import TickGrid
from jepa_ros.control.plans import PlanFollower

__all__ = ["AutoStart", "JointController", "PlanFollower", "Tick", "TickGrid"]
