"""The MuJoCo robot dog, its rooms and tasks."""
