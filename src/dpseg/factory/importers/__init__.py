"""Checkpoints of other projects, read into this one's models."""
