"""Labelled photos: class names, folders on disk, and the pictures that training sees."""
