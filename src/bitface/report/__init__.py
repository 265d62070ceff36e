"""The report: what came out of a quantization, a benchmark or a demo, as one HTML page.

Plain JSON-like data comes in, a page that needs neither network nor script goes out. `page.render` describes
the data. Nothing here computes a result: figures arrive finished and are only written down and drawn.
"""

from bitface.report.page import render, write

__all__ = ["render", "write"]
