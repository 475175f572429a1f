"""A family of detectors: who is in it, and its training from the largest member down."""
