"""Render one picture from a file or standard input to a file or standard output."""

from __future__ import annotations

from rendering.job import Done, Wanted, into, render_picture
from rendering.pace import Pace, Part
from rendering.reading import read_picture
from rendering.standard import STANDARD, read_standard, standard_output
from rendering.tiles import Renderer
from rendering.writing import FORMATS, format_of


def render_single(
    renderer: Renderer, source: str, target: str, wanted: Wanted, ending: str
) -> Done:
    """Read, render and write, and show progress; the output appears whole or not at all.

    Args:
        source: A file, or ``-`` for standard input.
        target: A file, or ``-`` for standard output.
        ending: File ending of the format that goes to standard output.

    Raises:
        UserError: If the input cannot be read, or the output cannot be made as asked.
        OSError: If the output cannot be written.
    """
    piped = target == STANDARD
    format = next(f for f in FORMATS if ending in f.endings) if piped else format_of(target)
    picture = (
        read_standard(wanted.max_input_pixels)
        if source == STANDARD
        else read_picture(source, wanted.max_input_pixels)
    )
    rows, cols = wanted.grid(picture.size)
    pixels = len(rows) * len(cols)
    pace = Pace("stdout" if piped else target, pixels)
    progress = Part(pace, pixels).reach
    output = standard_output() if piped else into(target)
    try:
        return render_picture(renderer, picture, output, format, wanted, progress)
    finally:
        pace.close()
