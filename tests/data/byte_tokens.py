"""A tokenizer of one token per byte, so that expected ids can be counted by hand."""

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast


def byte_tokenizer(
    single: str = "<s> $A", template: str | None = None, eos: str | None = "</s>", pad: str = "</s>"
) -> PreTrainedTokenizerFast:
    """A tokenizer of one token per byte, so that expected ids can be counted by hand."""
    specials = ["<s>", "</s>", "<|end|>", "[gMASK]"]
    vocabulary = {token: i for i, token in enumerate(specials)}
    for letter in sorted(pre_tokenizers.ByteLevel.alphabet()):
        vocabulary[letter] = len(vocabulary)
    backend = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.post_processor = processors.TemplateProcessing(
        single=single, special_tokens=[(token, vocabulary[token]) for token in specials]
    )
    backend.add_special_tokens(specials)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="<s>", eos_token=eos, pad_token=pad
    )
    tokenizer.chat_template = template
    return tokenizer
