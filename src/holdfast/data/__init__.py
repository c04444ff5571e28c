"""Rows of text: reading, rendering, tokenizing, mixing."""
