"""Checkpoint files: what is in them, without running it."""
