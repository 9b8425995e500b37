"""`dpseg-lite` without torch: its ONNX graphs, how they are made and how they run."""
