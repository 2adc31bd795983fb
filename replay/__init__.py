"""Recorded drives: reads any ROS bag there is, whole or damaged, and writes bags that survive their writer's death."""
