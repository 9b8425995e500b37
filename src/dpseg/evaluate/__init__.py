"""Measuring: confusion counts over a data set, and the figures that come from them."""
