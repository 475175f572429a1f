"""Families of detectors, as a search with several budgets finds them."""
