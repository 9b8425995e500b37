"""From a name or folder to a loaded model: presets, files, published checkpoints."""
