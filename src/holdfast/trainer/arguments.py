"""The settings of a trainer, whichever a caller has: ours, transformers' own, or none."""

import copy
from dataclasses import fields
from typing import Any

from transformers import TrainingArguments

from holdfast.errors import UserError

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
        UserError: ``args`` are another method's, or no training arguments.
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
    known = {field.name for field in fields(TrainingArguments)}
    own = [field.name for field in fields(config_class) if field.name not in known]
    given = {name: getattr(args, name) for name in own if getattr(args, name, None) is not None}
    # Made only for its checks and defaults: its other settings are not the caller's.
    made = config_class(str(args.output_dir), use_cpu=args.use_cpu, **given)
    config = object.__new__(config_class)
    config.__dict__.update(copy.copy(vars(args)))
    config.__dict__.update({name: getattr(made, name) for name in own})
    return config
