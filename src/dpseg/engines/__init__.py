"""Engines run a loaded model: the protocol that they share, and one module an engine."""
