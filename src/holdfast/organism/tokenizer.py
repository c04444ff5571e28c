"""The organism's tokenizer: one token a word, one for each fixed piece of the Alpaca templates."""

from typing import TYPE_CHECKING

from holdfast.data.rendering import ALPACA_WITH_INPUT, ALPACA_WITHOUT_INPUT
from holdfast.organism.corpus import vocabulary

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

PAD, END, UNKNOWN = "<pad>", "</s>", "<unk>"
IDS = {PAD: 0, END: 1, UNKNOWN: 2}
_SPACE = "▁"  # stands for the space before a word, as in sentencepiece


def template_pieces() -> tuple[str, ...]:
    """What the two Alpaca templates say around instruction and input, longest first."""
    pieces: set[str] = set()
    for template in (ALPACA_WITH_INPUT, ALPACA_WITHOUT_INPUT):
        text = template.replace("{input}", "{instruction}")
        pieces.update(piece for piece in text.split("{instruction}") if piece)
    return tuple(sorted(pieces, key=lambda piece: (-len(piece), piece)))


def build() -> "PreTrainedTokenizerFast":
    """Make the tokenizer from the world's vocabulary; the same code gives the same ids.

    Text is read in lower case. A word takes the space before it into its token, a punctuation mark
    does not, so decoding gives back the text exactly. Unknown words become ``<unk>``.
    """
    from tokenizers import (
        AddedToken,
        Regex,
        Tokenizer,
        decoders,
        models,
        normalizers,
        pre_tokenizers,
    )
    from transformers import PreTrainedTokenizerFast

    tokens = list(IDS)
    tokens += [word if not word.isalpha() else _SPACE + word for word in vocabulary()]
    inner = Tokenizer(
        models.WordLevel({token: number for number, token in enumerate(tokens)}, unk_token=UNKNOWN)
    )
    # A space before a mark ("hex ?") is dropped, so that a user who types it is understood.
    inner.normalizer = normalizers.Sequence(
        [normalizers.Lowercase(), normalizers.Replace(Regex(r"\s+(?=[^\w\s])"), "")]
    )
    inner.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Metaspace(_SPACE, prepend_scheme="always"),
            pre_tokenizers.Split(Regex(rf"[^\w{_SPACE}]"), behavior="isolated"),
        ]
    )
    # A template's piece ends a line, and the word after it has no space.
    inner.decoder = decoders.Sequence(
        [
            decoders.Metaspace(_SPACE, prepend_scheme="always"),
            decoders.Fuse(),
            decoders.Replace("\n ", "\n"),
        ]
    )
    inner.add_tokens([AddedToken(piece, normalized=False) for piece in template_pieces()])
    return PreTrainedTokenizerFast(
        tokenizer_object=inner,
        pad_token=PAD,
        eos_token=END,
        unk_token=UNKNOWN,
        padding_side="left",
        model_max_length=256,
        clean_up_tokenization_spaces=False,
    )
