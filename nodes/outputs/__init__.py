"""What leaves `joint_command` for a robot: one file for each way a robot takes commands."""
