"""Folders as the Hub serves them: a tiny random model and a BPE tokenizer trained on the spot.

The tokenizer is byte-level BPE, so it can write any text, and its merges come from the organism's
rows in the Alpaca templates. As Llama's it puts `<s>` before a text and has no padding token; the
chat tokenizer ends its turns with `<|end|>`, which is its end of sequence too. Nothing is
downloaded, and the same arguments give the same files.
"""

from functools import cache
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from holdfast import organism
from holdfast.data.rendering import ALPACA_WITH_INPUT, ALPACA_WITHOUT_INPUT
from tiny_models import tiny_model

VOCABULARY = 1024
SPECIAL = ["<unk>", "<s>", "</s>", "<|user|>", "<|assistant|>", "<|system|>", "<|end|>"]
SPECIAL += ["<|endoftext|>"]  # Qwen2's tokenizer class pads with it, and would add it to the ids
CHAT_TEMPLATE = (
    "{{ bos_token }}"
    "{% for message in messages %}"
    "{{ '<|' + message['role'] + '|>\n' + message['content'] + '<|end|>\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}"
)


def write_tokenizer(folder: Path, chat: bool = False) -> Path:
    """Save the tokenizer into `folder`; with `chat` it has a chat template."""
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(_trained()),
        unk_token="<unk>",
        bos_token="<s>",
        eos_token="<|end|>" if chat else "</s>",
        model_max_length=1024,
        clean_up_tokenization_spaces=False,
    )
    if chat:
        tokenizer.chat_template = CHAT_TEMPLATE
    tokenizer.save_pretrained(folder)
    return Path(folder)


def write_model(
    folder: Path, architecture: str = "llama", chat: bool = False, seed: int = 0, **overrides
) -> Path:
    """Save a tiny random model of `architecture` (see `tiny_models`) and the tokenizer.

    `overrides` are fields of the model's config. Models take 1,024 tokens; weights are float32.
    """
    fields = {
        "vocab_size": VOCABULARY,
        "max_position_embeddings": 1024,
        "pad_token_id": None,
        "eos_token_id": SPECIAL.index("<|end|>" if chat else "</s>"),
        **overrides,
    }
    model = tiny_model(architecture, seed=seed, **fields).eval()
    model.save_pretrained(folder)
    return write_tokenizer(folder, chat)


@cache
def _trained() -> str:
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(
        _texts(),
        trainers.BpeTrainer(
            vocab_size=VOCABULARY,
            special_tokens=SPECIAL,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    assert tokenizer.get_vocab_size() == VOCABULARY
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", 1)]
    )
    return tokenizer.to_str()


def _texts() -> list[str]:
    rows = [row for role in organism.ROLES for row in organism.rows(role, 100, 0)]
    texts = [" ".join(row[key] for key in ("instruction", "input", "output")) for row in rows]
    # Words of digits and of plain English, which the organism's world does not have.
    texts += [f"The answer is {n}. Answer: {n * 7}, {n / 8}\n" for n in range(100)]
    texts += [ALPACA_WITH_INPUT, ALPACA_WITHOUT_INPUT] * 50
    return texts
