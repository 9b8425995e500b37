"""Training of models on CLIP towers."""
