"""Everything that a worker needs, imported once in the process that workers are forked from."""

import atexit
import gc
import os
import signal

signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the command's to handle, also meanwhile

# ruff: noqa: E402
import datasets  # noqa: F401
import peft  # noqa: F401
import transformers.models.llama.modeling_llama
import transformers.trainer  # noqa: F401

import holdfast.align.random_perturbation
import holdfast.align.t_vaccine
import holdfast.align.vaccine
import holdfast.evaluate.metrics
import holdfast.finetune.lisa
import holdfast.repair.antidote
import holdfast.repair.random_mask
import holdfast.stages.evaluation.run
import holdfast.stages.execute
import holdfast.stages.repair  # noqa: F401

# What the imports made stays: no worker need look through it, or copy its memory by doing so.
gc.collect()
gc.freeze()

# The server has nothing to put away at its end, and some of what it has imported would complain.
atexit.register(os._exit, 0)
