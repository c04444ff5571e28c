"""The settings of a trainer, whichever a caller has: ours, transformers' own, or none."""

import copy
from dataclasses import fields
from typing import Any

from transformers import TrainingArguments

from holdfast.errors import UserError

_ON_TOKENIZER = "set it on the tokenizer, and pass that as processing_class"
# Settings that TRL's SFTConfig has beyond transformers' and that decide what is learned: the values
# that ask for nothing but what is done here, and for the others what to do instead. The rest of
# TRL's settings changes time and memory alone (padding_free, dataset_num_proc, pad_to_multiple_of,
# activation_offloading), or is for a model that TRL loads itself (model_init_kwargs).
_OF_TRL: dict[str, tuple[tuple[Any, ...], str]] = {
    "packing": ((False,), "each row is a sequence of its own"),
    "eval_packing": ((None, False), "each row is a sequence of its own"),
    "eos_token": ((None,), _ON_TOKENIZER),
    "chat_template_path": ((None,), _ON_TOKENIZER),
    "truncation_mode": (("keep_start",), "a row that is too long keeps its start"),
    "completion_only_loss": ((None, True), "the loss is on the answers alone"),
    "loss_type": ((None, "nll", "chunked_nll"), "the loss is the mean over the answers' tokens"),
    "shuffle_dataset": ((False,), "rows come in a new order in every epoch, by data_seed"),
    "dataset_text_field": (("text",), "rows are read by their columns' names"),
    "dataset_kwargs": ((None, {}), "rows are prepared unless they are tokenized"),
    "max_seq_length": ((None,), "here it is max_length"),
}

NO_ARGUMENTS = "tmp_trainer"  # the folder that transformers' own Trainer takes without args


def as_config(args: Any, config_class: type, base: type) -> Any:
    """``args`` as an object of ``config_class``, with that class's defaults for what it lacks.

    Settings that ``transformers.TrainingArguments`` has are those of ``args``, all of them, also
    where ``config_class`` has another default. A field of ``config_class`` that ``args`` has under
    the same name (``max_length`` of TRL's configuration, say) keeps its value there.

    Args:
        args: an object of ``config_class``, which comes back as it is; one of the class above it;
            any ``TrainingArguments``, which is left as it is; or None.
        config_class: the configuration that the trainer wants.
        base: what all of holdfast's configurations derive from.

    Raises:
        UserError: ``args`` are another method's, or no training arguments, or ask for something
            of TRL's that is not done here.
    """
    if args is None:
        return config_class(NO_ARGUMENTS)
    if isinstance(args, config_class):
        return args
    of_another = isinstance(args, base) and not issubclass(config_class, type(args))
    if of_another or not isinstance(args, TrainingArguments):
        raise UserError(
            f"args is a {type(args).__name__}: this trainer takes {config_class.__name__}, or "
            "transformers.TrainingArguments."
        )
    _check_trl(args)
    known = {field.name for field in fields(TrainingArguments)}
    own = [field.name for field in fields(config_class) if field.name not in known]
    given = {name: getattr(args, name) for name in own if getattr(args, name, None) is not None}
    # Made only for its checks and defaults: its other settings are not the caller's.
    made = config_class(str(args.output_dir), use_cpu=args.use_cpu, **given)
    config = object.__new__(config_class)
    config.__dict__.update(copy.copy(vars(args)))
    config.__dict__.update({name: getattr(made, name) for name in own})
    return config


def _check_trl(args: Any) -> None:
    """Refuse what TRL would do and this trainer would pass over in silence.

    TRL is not needed for it: whatever has a setting of such a name is looked at.
    """
    for name, (kept, instead) in _OF_TRL.items():
        value = getattr(args, name, kept[0])
        if value not in kept:
            raise UserError(
                f"args ({type(args).__name__}) has {name}={value!r:.60}, which this trainer does "
                f"not do: {instead}; leave {name} at {kept[0]!r}."
            )
    if getattr(args, "max_length", 1) is None:
        raise UserError(
            f"args ({type(args).__name__}) has max_length=None, which cuts no row: this trainer "
            "needs the number of tokens of the longest row."
        )
