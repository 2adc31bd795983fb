"""A small engine that runs ROS 2 launch files where ROS's own `launch` is not installed.

The packages `launch` and `launch_ros` beside this one offer the real ones' names for the constructs that are
supported; anything else is refused by name when the file is loaded, never ignored.
"""


class LaunchError(Exception):
    """A launch file that cannot be run here: one sentence that names the construct or argument and the fix."""
