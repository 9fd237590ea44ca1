"""Computed and model-ready."""
