"""Training a JEPA without negatives from recorded runs."""
