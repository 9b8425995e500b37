"""Prompts: class names and examples, made into what a model compares an image with."""
