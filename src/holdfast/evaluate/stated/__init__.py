"""What an answer states, as a reader reads it: a number, or one of some labels, or a text."""

from holdfast.evaluate.stated.decisions import decided_label
from holdfast.evaluate.stated.labels import stated_label
from holdfast.evaluate.stated.markup import stated_text
from holdfast.evaluate.stated.numbers import stated_number
from holdfast.evaluate.stated.settled import settled_number

__all__ = ["decided_label", "settled_number", "stated_label", "stated_number", "stated_text"]
