"""A run's report as one HTML page that needs nothing else: no other file, no other host."""

from holdfast.report.html.write import write_html

__all__ = ["write_html"]
