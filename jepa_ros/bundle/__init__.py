"""Bundles: a trained world model as a folder of graphs and a manifest."""
