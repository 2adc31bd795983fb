"""Run a trained JEPA world model on a ROS 2 robot: the core, free of ROS and of torch."""

__version__ = "0.1.0"
