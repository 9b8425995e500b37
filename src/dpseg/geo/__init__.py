"""Maps: georeferenced and very large pictures, read and written in windows."""
