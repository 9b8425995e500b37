"""Maps: georeferenced and very large images, read and written in windows."""
