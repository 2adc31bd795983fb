"""`jepa-bench`: what plans, drives, replays and predictions cost. It may import every room; none imports it."""
