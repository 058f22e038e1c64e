"""Trained models as files that others read."""
