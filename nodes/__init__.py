"""Thin ROS 2 nodes: messages in, one core call, messages out."""
