"""Prompts: class names and example pictures, made into what a model compares an image with."""
