"""The pictures of a report: one way of drawing for files and for the page."""
