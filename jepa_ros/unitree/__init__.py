"""What a Unitree Go2 says and hears on the wire, without ROS: LowCmd, LowState, the remote, the motion switcher."""
