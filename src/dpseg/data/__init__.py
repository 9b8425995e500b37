"""Labelled photos: class names, folders on disk, and the images that training sees."""
