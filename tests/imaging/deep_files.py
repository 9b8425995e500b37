"""Pictures of 16 bits a sample, which Pillow cannot write."""

import struct
import zlib

import numpy as np

_COLOUR_TYPE = {1: 0, 2: 4, 3: 2, 4: 6}


def encoded_deep_png(values: np.ndarray, *, extra: bytes = b"") -> bytes:
    """Encode H W C of uint16 as PNG; `extra` stands before the pixels."""
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    height, width, channels = values.shape
    header = struct.pack(">IIBBBBB", width, height, 16, _COLOUR_TYPE[channels], 0, 0, 0)
    pixels = png_chunk(b"IDAT", zlib.compress(rows))
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + extra + pixels + png_chunk(b"IEND")


def png_chunk(tag: bytes, data: bytes = b"") -> bytes:
    return struct.pack(">I", len(data)) + tag + data + struct.pack(">I", zlib.crc32(tag + data))
