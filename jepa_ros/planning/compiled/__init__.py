"""Planners compiled to ONNX: model, cost, constraints and the planner's own iterations in one graph."""
