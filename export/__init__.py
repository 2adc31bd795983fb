"""PyTorch models become bundles; one file a model family."""
