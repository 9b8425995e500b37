"""Photos in, label maps and drawings out: reading, resizing, tiling, colours."""
