"""The last thing before the wire: a state machine with reasons, and limits on every joint command. No ROS, no clock."""

from jepa_ros.safety.events import SafetyEvent
from jepa_ros.safety.filter import Ages, SafetyFilter
from jepa_ros.safety.machine import Decision, Reply, State
from jepa_ros.safety.watchdog import CommandWatchdog, damping_command

__all__ = ["Ages", "CommandWatchdog", "Decision", "Reply", "SafetyEvent", "SafetyFilter", "State", "damping_command"]
