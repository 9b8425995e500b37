"""Dual encoders: text towers and image towers that share a joint space."""
