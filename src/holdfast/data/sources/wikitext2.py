"""WikiText-2 as raw text, for perplexity."""

from holdfast.data.sources.base import Origin, Part, Row, Source, text


def wikitext_row(row: Row) -> Row:
    """A line of text, often empty: the lines in their order, joined, are the corpus."""
    return {"text": text(row, "text"), "kind": "text"}


WIKITEXT2 = Source(
    name="wikitext2",
    title="WikiText-2, raw lines of Wikipedia, for perplexity",
    licence="CC BY-SA 3.0 and GFDL",
    origins={
        "main": Origin(
            "Salesforce/wikitext",
            ("text",),
            config="wikitext-2-raw-v1",
            revision="b08601e04326c79dfdd32d625aee71d232d685c3",
        )
    },
    parts={name: Part(name, wikitext_row) for name in ("train", "validation", "test")},
    default="test",
)
