"""Losses, metrics and callbacks of training."""
