#!/usr/bin/env python3
"""Make data/demo.png and data/demo.wav again: a drawn landscape and a spoken sentence.

Both are committed, so the demo needs neither this script nor espeak-ng (Debian package espeak-ng), which speaks.
"""
import math
import pathlib
import struct
import subprocess
import zlib

WIDTH, HEIGHT = 640, 448
SENTENCE = "Hello! This is a red house on a green hill, under a yellow sun."


def mix(a, b, t):
    t = min(max(t, 0.0), 1.0)
    return tuple(x + (y - x) * t for x, y in zip(a, b))


def hill(x):
    return 300 + 28 * math.sin(x / 95) + 12 * math.sin(x / 37 + 1)


def cover(distance):
    """How much of a pixel lies inside, from the signed distance to the edge: soft edges."""
    return min(max(0.5 - distance, 0.0), 1.0)


def pixel(x, y):
    c = mix((92, 158, 224), (222, 236, 247), y / 300)                           # sky
    c = mix(c, (252, 206, 66), cover(math.hypot(x - 512, y - 92) - 46))         # sun
    c = mix(c, (118, 142, 170), cover(240 + 60 * abs(math.sin(x / 150)) - y))   # mountains
    c = mix(c, (86, 148, 66), cover(hill(x) - y))                               # hill
    c = mix(c, (58, 110, 48), cover(hill(x + 190) + 58 - y))                    # nearer hill
    inside = max(abs(x - 210) - 66, 238 - y, y - 330)
    c = mix(c, (196, 52, 44), cover(inside))                                    # house
    c = mix(c, (104, 48, 38), cover(max(abs(x - 210) * 0.75 + 178 - y, y - 238)))  # roof
    c = mix(c, (250, 232, 170), cover(max(abs(x - 182) - 13, abs(y - 270) - 13)))  # window
    c = mix(c, (84, 58, 42), cover(max(abs(x - 240) - 13, 276 - y, y - 330)))   # door
    return bytes(round(v) for v in c)


def png(path):
    rows = b"".join(b"\0" + b"".join(pixel(x, y) for x in range(WIDTH)) for y in range(HEIGHT))

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", WIDTH, HEIGHT, 8, 2, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows, 9)) + chunk(b"IEND", b""))


def main():
    data = pathlib.Path(__file__).resolve().parent.parent / "data"
    data.mkdir(exist_ok=True)
    png(data / "demo.png")
    subprocess.run(["espeak-ng", "-v", "en", "-s", "150", "-w", str(data / "demo.wav"), SENTENCE], check=True)


if __name__ == "__main__":
    main()
