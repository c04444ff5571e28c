"""The kinds of stage and their settings, and what settings a method has."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Literal

from holdfast.errors import UserError
from holdfast.settings import Field, fields_of
from holdfast.stages.elsewhere import ELSEWHERE, OURS
from holdfast.stages.methods import Method, method_of

KINDS = ("align", "screen", "finetune", "repair", "evaluate")
METHOD_KINDS = KINDS[:-1]  # those that have methods

Attention = (
    Literal["eager", "sdpa", "flex_attention", "flash_attention_2", "flash_attention_3"] | None
)

# The ranges of settings, see `holdfast.settings.ranges`.
_COUNT = {"range": "[1, inf)"}
_SHARE = {"range": "[0, 1]"}
_SEED = {"range": "[0, 4294967295]"}  # what all libraries take

# Tasks whose rows are a known data set of the same name.
REAL_TASKS = ("sst2", "agnews", "gsm8k", "alpaca")


@dataclass
class LoraSettings:
    """The adapter that a training stage adds.

    Args:
        r: rank of the adapter.
        alpha: scale of the adapter; its update counts alpha / r times.
        dropout: dropout in front of the adapter.
        target_modules: names of the modules that get an adapter, or "all-linear".
    """

    r: int = field(default=8, metadata=_COUNT)
    alpha: float = field(default=16.0, metadata={"range": "(0, inf)"})
    dropout: float = field(default=0.0, metadata={"range": "[0, 1)"})
    target_modules: str | list[str] = "all-linear"


@dataclass
class AnyStage:
    """What every stage has.

    Args:
        model: the model that the stage starts from: organism, a folder, or a model id on the Hub.
        dtype: the weights' type: auto is bfloat16 on a GPU, float16 on one that has no bfloat16
            (T4, V100), float32 elsewhere.
        attn_implementation: how attention is computed; the library's choice if not given.
        device_map: auto spreads the model over all GPUs and, where they are too small, the CPU.
        quantization: loads the base in 4 bits (NF4) or 8 bits.
        template: how rows become prompts: alpaca, or a file of a chat template (.jinja); if not
            given, the tokenizer's own chat template, else Alpaca's. Later stages inherit it.
    """

    model: str = "organism"
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    attn_implementation: Attention = None
    device_map: Literal["auto"] | None = None
    quantization: Literal["4bit", "8bit"] | None = None
    template: str | None = None


@dataclass
class StageWithRows(AnyStage):
    """What a stage has that reads rows to change a model.

    Args:
        rows: how many rows; all of them if not given.
        sampling: which rows of a data set are taken: its first, or random ones.
        columns: what a file's columns are, such as {instruction: question, output: answer}.
        seed: decides what is left to chance.
        sample_seed: decides which of the organism's rows are drawn, and which of a data set's with
            sampling=random; the same as seed if not given.
    """

    rows: int | None = field(default=None, metadata=_COUNT)
    sampling: Literal["first", "random"] = "first"
    columns: dict[str, str] | None = None
    seed: int = field(default=0, metadata=_SEED)
    sample_seed: int | None = field(default=None, metadata=_SEED)


@dataclass
class TrainingStage(StageWithRows):
    """What a stage has that trains.

    Args:
        dtype: the weights' type: auto is bfloat16 on a GPU, float16 on one that has no bfloat16
            (T4, V100), float32 elsewhere. What trains is float32, and saved so: of adapter full
            all weights, computing in this type.
        quantization: loads the base in 4 bits (NF4) or 8 bits; needs an adapter.
        processes: in how many processes the training runs, one a GPU, each with batches of
            per_device_train_batch_size rows; 1 is this process.
        parallel: what several processes do: ddp holds the whole model in each, fsdp2 divides its
            weights among them.
        seed: decides initial weights, dropout and the order of the rows.
    """

    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    quantization: Literal["4bit", "8bit"] | None = None
    lora: LoraSettings = field(default_factory=LoraSettings)
    processes: int = field(default=1, metadata=_COUNT)
    parallel: Literal["ddp", "fsdp2"] = "ddp"
    seed: int = field(default=0, metadata=_SEED)


@dataclass
class AlignStage(TrainingStage):
    """Stage 1, alignment: train a base model to refuse.

    Args:
        method: the alignment method, or your own as my_module:MyTrainer.
        data: alignment rows (harmful prompt and safe answer, benign rows among them): a file, a
            known data set (beavertails:safe) or hub:owner/name:split; the organism has its own.
        harmful_data: harmful rows for a method that asks for them, likewise.
        harmful_rows: how many of those rows.
        adapter: lora trains an adapter, full the weights themselves.
    """

    method: str = "sft"
    data: str | None = None
    harmful_data: str | None = None
    harmful_rows: int | None = field(default=200, metadata=_COUNT)
    adapter: Literal["lora", "full"] = "lora"


@dataclass
class FinetuneStage(TrainingStage):
    """Stage 2, user fine-tuning: train the aligned model on a user's rows.

    Args:
        model: the aligned model: a stage's folder, any other model, or organism.
        method: the fine-tuning method, or your own as my_module:MyTrainer.
        task: the user's task: sst2, agnews, gsm8k or alpaca, whose training rows are then the data
            if none is named; the organism's own are sentiment, topic and sums.
        data: the user's rows: a file, a known data set (sst2:train) or hub:owner/name:split; the
            organism has its own.
        rows: how many rows in all; all of the file if not given.
        harmful_data: harmful rows to mix in, named as in data; the organism has its own.
        harmful_ratio: p, the share of harmful rows among the rows, 0 to 1.
        attack: what an attacker makes of the user's rows; `holdfast list attacks` names them.
        alignment_data: alignment rows for a method that asks for them, such as Lisa, named as in
            data; the organism has its own.
        alignment_rows: how many of those rows; all if not given.
        probe_data: the defender's harmful rows, none of them the user's, likewise.
        probe_rows: how many of those rows; all if not given.
        base_model: what the alignment started from, for a method that asks: of a chat model, say.
        adapter: double merges what is there and trains a fresh adapter; single goes on with the
            last adapter (Booster's demand, and its default); full trains the weights themselves.
    """

    model: str = "organism"
    method: str = "sft"
    task: str | None = None
    data: str | None = None
    rows: int | None = field(default=None, metadata=_COUNT)
    harmful_data: str | None = None
    harmful_ratio: float = field(default=0.0, metadata=_SHARE)
    attack: str = "mixed"
    alignment_data: str | None = None
    alignment_rows: int | None = field(default=None, metadata=_COUNT)
    probe_data: str | None = None
    probe_rows: int | None = field(default=None, metadata=_COUNT)
    base_model: str | None = None
    adapter: Literal["double", "single", "full"] = "double"


@dataclass
class RepairStage(StageWithRows):
    """Stage 3, repair: change a fine-tuned model's last adapter, or its weights.

    Args:
        model: the fine-tuned model or adapter, whoever trained it.
        method: the repair, or your own as my_module:my_repair.
        data: realignment rows (harmful ones): a file, a known data set (beavertails:realignment) or
            hub:owner/name:split; the organism has its own.
        source: whose rows score the weights: realignment rows, which nothing was trained on, the
            user's own, or benign ones; it says of a data set which rows it may share.
        task: the organism's user task, for source=user.
        harmful_ratio: the share of harmful rows, for source=user.
        attack: what an attacker made of the user's rows, for source=user.
        alignment_data: alignment rows for a repair that asks for them, likewise.
        alignment_rows: how many of those rows; all if not given.
        base_model: what the alignment started from, for a repair that asks: of a chat model, say.
        quantization: loads the base in 4 bits (NF4) or 8 bits; the repair is then of an adapter.
        seed: decides what the repair leaves to chance.
    """

    model: str = "organism"
    method: str = "antidote"
    data: str | None = None
    source: Literal["realignment", "user", "benign"] = "realignment"
    task: str | None = None
    harmful_ratio: float = field(default=0.1, metadata=_SHARE)
    attack: str = "mixed"
    alignment_data: str | None = None
    alignment_rows: int | None = field(default=None, metadata=_COUNT)
    base_model: str | None = None
    quantization: Literal["4bit", "8bit"] | None = None
    seed: int = field(default=0, metadata=_SEED)


@dataclass
class EvaluateStage(AnyStage):
    """Stage 4, evaluation: measure a model by a named protocol.

    Args:
        model: the model to measure.
        protocol: the protocol's name; if not given, organism for the organism and what was trained
            from it, holdfast for all others.
        task: the user task whose accuracy is measured: sst2, agnews or gsm8k, or one of the
            organism's; none measures no accuracy.
        harmful_data: harmful prompts in the place of the protocol's, all of them: any reference.
        benign_data: the same for the benign prompts that look like them.
        task_data: the same for the task's test rows; without a task answers must equal outputs.
        alignment_data: the same for the alignment rows (a prompt and its safe answer), on which
            alignment loss and drift are measured. With harmful_data of one's own and none of these
            both are left out.
        judges: in the place of the protocol's: names, NAME=MODEL for another folder or Hub id, or
            a judge's own settings ({name: endpoint, model: NAME}); the first one's verdicts are the
            harmful score.
        limit: at most so many rows of each set: a trial, not the protocol's numbers.
        max_new_tokens: the longest answer, in tokens, in the place of the protocol's.
        batch_size: the most prompts answered at once; the protocol's if not given.
        backend: what generates the answers; vllm runs in a process of its own.
        system_prompt: asked with every question; if not given, what the model's folder says.
        attack: whose way of asking the harmful prompts are asked in, too, beside the plain way; if
            not given, what the model's folder says; mixed asks the plain way alone.
        gpu_memory_utilization: vllm's share of a GPU's memory; its own choice if not given.
        tensor_parallel_size: among how many GPUs vllm divides the model.
        also: what else to measure: wikitext2 (perplexity), attention_drift (how far all attention
            outputs are from the reference's, as the papers' code sums it; nothing without one), or
            lm-eval tasks as lm_eval=TASK.
        reference: the aligned model, to which the embedding drift is measured; none, no drift.
        dtype: the weights' type: auto is the protocol's; float16 for bfloat16 on a GPU without it.
        quantization: loads the base in 4 bits (NF4) or 8 bits; adapters stay unmerged then.
        seed: decides which rows of the protocol's sets are asked.
    """

    model: str = "organism"
    protocol: str | None = None
    task: str | None = None
    harmful_data: str | None = None
    benign_data: str | None = None
    task_data: str | None = None
    alignment_data: str | None = None
    judges: list[str | dict[str, Any]] | None = None
    limit: int | None = field(default=None, metadata=_COUNT)
    max_new_tokens: int | None = field(default=None, metadata=_COUNT)
    batch_size: int | None = field(default=None, metadata=_COUNT)
    backend: Literal["transformers", "vllm"] | None = None
    system_prompt: str | None = None
    attack: str | None = None
    gpu_memory_utilization: float | None = field(default=None, metadata={"range": "(0, 1]"})
    tensor_parallel_size: int = field(default=1, metadata=_COUNT)
    also: list[str] | None = None
    reference: str | None = None
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    quantization: Literal["4bit", "8bit"] | None = None
    seed: int = field(default=0, metadata=_SEED)


SETTINGS = {
    "align": f"{__name__}:AlignStage",
    "screen": "holdfast.stages.screening.settings:ScreenStage",
    "finetune": f"{__name__}:FinetuneStage",
    "repair": f"{__name__}:RepairStage",
    "evaluate": f"{__name__}:EvaluateStage",
}


@cache
def stage_fields(kind: str) -> Mapping[str, Any]:
    """The fields that every stage of a kind has, ``lora`` with its own below it."""
    fields: dict[str, Any] = dict(fields_of(SETTINGS[kind]))
    if "lora" in fields:
        fields["lora"] = fields_of(f"{__name__}:LoraSettings")
    return fields


def method_fields(kind: str, method: str) -> Mapping[str, Field]:
    """The fields of a method's own configuration that a stage does not set itself.

    Raises:
        UserError: see `holdfast.stages.methods.method_of`; or the configuration has a field that
            the stage has.
    """
    return {} if kind == "evaluate" else own_fields(kind, method_of(kind, method))


@cache
def own_fields(kind: str, method: Method) -> Mapping[str, Field]:
    """As `method_fields`, of a method that is found."""
    stage, fields = stage_fields(kind).keys(), fields_of(method.config)
    for name in fields if method.version else ():
        if name in stage and name != "seed" and not is_transformers(name):
            raise UserError(
                f"{method.config} has a setting '{name}', which every {kind} stage has: give it "
                "another name."
            )
    return {name: f for name, f in fields.items() if name not in OURS | ELSEWHERE.keys() | stage}


def mechanism_settings(kind: str, method: str) -> set[str]:
    """The settings that are the method's own: neither the stage's nor transformers'."""
    return {name for name in method_fields(kind, method) if not is_transformers(name)}


def config_settings(kind: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Those of a stage's resolved settings that belong to its method's own configuration."""
    names = method_fields(kind, settings["method"])
    return {name: value for name, value in settings.items() if name in names}


def is_transformers(name: str) -> bool:
    """Whether a setting is one of transformers' own."""
    return name in fields_of("transformers.training_args:TrainingArguments")
