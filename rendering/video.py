"""Write videos frame by frame, without keeping any frame."""

from __future__ import annotations

import importlib.util
import io
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image

from errors import UserError


def check_video(target: str | Path) -> None:
    """Raise a `UserError` if it is already clear that no video can be written there."""
    ending = Path(target).suffix.lower()
    if ending not in (".mp4", ".gif"):
        raise UserError(f"{target}: a video is .mp4 or .gif")
    if ending == ".mp4" and importlib.util.find_spec("av") is None:
        raise UserError(f"{target}: a .mp4 needs the package av: pip install av; or write a .gif")


def write_video(file: BinaryIO, ending: str, frames: Iterator[np.ndarray], rate: int) -> None:
    """Write frames, uint8 (H, W, 3), as they come.

    Args:
        ending: Ending of the file, .mp4 or .gif.
        rate: Frames per second; a GIF uses whole hundredths of a second per frame.
    """
    if ending == ".gif":
        _write_gif(file, frames, 100 // rate)
    else:
        _write_mp4(file, frames, rate)


def _write_mp4(file: BinaryIO, frames: Iterator[np.ndarray], rate: int) -> None:
    import av

    target = _Target(file)
    try:
        _encode(av.open(target, "w", format="mp4"), frames, rate)
    except av.FFmpegError:
        if target.error is None:
            raise
        raise target.error from None


def _encode(container: Any, frames: Iterator[np.ndarray], rate: int) -> None:
    import av

    with container:
        stream = None
        for pixels in frames:
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            if stream is None:
                stream = container.add_stream("libx264", rate=rate)
                stream.width, stream.height, stream.pix_fmt = frame.width, frame.height, "yuv420p"
            container.mux(stream.encode(frame))
        assert stream is not None
        container.mux(stream.encode())


class _Target:
    """A file that remembers its first error, since PyAV only says that there was one.

    Attributes:
        error: The first error, such as a full disk or Ctrl-C.
    """

    def __init__(self, file: BinaryIO) -> None:
        self.tell, self.seek = file.tell, file.seek
        self.file = file
        self.error: BaseException | None = None

    def write(self, data: bytes) -> int:
        try:
            return self.file.write(data)
        except BaseException as error:
            self.error = self.error or error
            raise


def _write_gif(file: BinaryIO, frames: Iterator[np.ndarray], delay: int) -> None:
    """Write a looping GIF89a; each frame is an image with its own colour table.

    Pillow would keep all frames until the end, so it only compresses one at a time here.

    Args:
        delay: Duration of each frame, in hundredths of a second.
    """
    for index, frame in enumerate(frames):
        size, table, data = _gif_image(frame)
        if index == 0:
            file.write(b"GIF89a" + size + b"\x70\0\0")
            file.write(b"\x21\xff\x0bNETSCAPE2.0\x03\x01\0\0\0")
        file.write(b"\x21\xf9\x04\0" + struct.pack("<H", delay) + b"\0\0")
        bits = len(table).bit_length() - 3  # the table has 3 * 2**(bits + 1) bytes
        file.write(b"\x2c\0\0\0\0" + size + bytes([0x80 | bits]) + table + data)
    file.write(b"\x3b")


def _gif_image(frame: np.ndarray) -> tuple[bytes, bytes, bytes]:
    """Encode a frame as a GIF; get its width and height, colour table and compressed pixels."""
    encoded = io.BytesIO()
    Image.fromarray(frame).quantize(256).save(encoded, format="GIF", interlace=0)
    gif = encoded.getvalue()
    start = 13 + 3 * 2 ** ((gif[10] & 7) + 1)
    table, place = gif[13:start], start
    while gif[place] == 0x21:  # extensions: two bytes, then blocks until an empty one
        place += 2
        while gif[place]:
            place += 1 + gif[place]
        place += 1
    assert gif[place] == 0x2C and not gif[place + 9]  # one image, without a table of its own
    return gif[6:10], table, gif[place + 10 : -1]
