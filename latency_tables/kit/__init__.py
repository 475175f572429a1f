"""Kits for devices without tinynas: an archive of models and one script to measure there, and what comes back."""
