"""What an answer states, as a reader reads it: a number, or one of some labels, or a text."""

from holdfast.evaluate.stated.labels import stated_label
from holdfast.evaluate.stated.markup import stated_text
from holdfast.evaluate.stated.numbers import stated_number

__all__ = ["stated_label", "stated_number", "stated_text"]
