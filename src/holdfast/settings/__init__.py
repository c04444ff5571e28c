"""Settings from YAML files and `key=value` words, checked before anything heavy is imported."""

from holdfast.settings.checking import Allowed, check, nearest
from holdfast.settings.fields import REQUIRED, Expression, Field, fields_of
from holdfast.settings.files import load_yaml, merge, parse_overrides
from holdfast.settings.places import Place, at, inside, lines_of, words_lines
from holdfast.settings.ranges import check_ranges

__all__ = [
    "REQUIRED",
    "Allowed",
    "Expression",
    "Field",
    "Place",
    "at",
    "check",
    "check_ranges",
    "fields_of",
    "inside",
    "lines_of",
    "load_yaml",
    "merge",
    "nearest",
    "parse_overrides",
    "words_lines",
]
