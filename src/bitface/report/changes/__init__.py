"""What changed between two results, as the report's input: two runs in, one page of before and after out."""

from bitface.report.changes.content import changes_of
from bitface.report.changes.side import Side

__all__ = ["Side", "changes_of"]
