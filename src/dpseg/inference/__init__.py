"""The one path from a photo to labels, which every way in takes."""
