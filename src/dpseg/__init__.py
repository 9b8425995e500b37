"""Open-vocabulary segmentation: name it, or show it, and get its pixels."""

__version__ = "0.1.0"

__all__ = ["__version__"]
