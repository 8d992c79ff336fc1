"""An SVG file as a part of a page: no names that other pictures have, no styles that reach out."""

import re
from html import escape

from markupsafe import Markup

from ratchet.drawing import Drawing

# Pixels in a point, the unit of matplotlib's files.
_PIXELS = 4 / 3

_HEAD = re.compile(r"<svg\b[^>]*>")
_BOX = re.compile(r'\bviewBox="([^"]*)"')
# Who made the file, and rules that would hold for the whole page.
_OUTSIDE = re.compile(r"<metadata>.*?</metadata>|<style\b.*?</style>|<!--.*?-->", re.DOTALL)
_NAMES = re.compile(r'(\bid="|\bhref="#|\burl\(#)')


def svg(drawing: Drawing, prefix: str, caption: str) -> Markup:
    """Give the element that shows a drawing within a page.

    Parameters
    ----------
    drawing : Drawing
        The picture, as matplotlib wrote it. Matplotlib has escaped its texts.
    prefix : str
        What its ids begin with, which no other picture of the page has.
    caption : str
        Id of the element that tells what is to be seen; empty where none does,
        and the picture itself has to.

    Raises
    ------
    ValueError
        If it is no SVG file of matplotlib's.
    """
    head, box = _opened(drawing)
    inside = _NAMES.sub(rf"\g<1>{prefix}", _OUTSIDE.sub("", drawing.svg[head.end() :]))
    told = f'aria-labelledby="{caption}"' if caption else f'aria-label="{escape(drawing.told)}"'
    # Spaces and breaks between elements are half of such a file.
    inside = re.sub(r">\s+<", "><", inside)
    return Markup(
        f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
        f' viewBox="{box}" role="img" {told}>{inside}'
    )


def width(drawing: Drawing) -> int:
    """Give the width that a drawing was made for, in pixels.

    Raises
    ------
    ValueError
        If it is no SVG file of matplotlib's.
    """
    _, box = _opened(drawing)
    return round(_PIXELS * float(box.split()[2]))


def _opened(drawing: Drawing) -> tuple[re.Match[str], str]:
    """Find the tag that opens the picture, and the box that it is drawn in."""
    head = _HEAD.search(drawing.svg)
    box = _BOX.search(head.group()) if head else None
    if head is None or box is None:
        raise ValueError(f"the drawing {drawing.name!r} is no SVG file with a viewBox")
    return head, box.group(1)
