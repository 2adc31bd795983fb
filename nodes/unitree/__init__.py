"""What stands between a Unitree Go2 and the topics that every robot has: its state and operator, and its camera."""
