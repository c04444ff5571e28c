"""The doors by which files that somebody else made come in: whatever is wrong in them is told.

Libraries meet a wrong type, an absurd size or a torn file with errors of every kind. Here each
becomes one sentence with the file's name. Regular expressions and templates that a file brings are
tried in a process of their own first, which ends after some seconds: nothing else can interrupt
them. Nothing here imports torch.
"""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache, wraps
from pathlib import Path
from typing import Any

from holdfast.errors import UserError

# Beyond what any model has; a tenth of it would not fit into any machine.
_MOST_LAYERS = 10_000
_MOST = 10_000_000  # of any other size: a vocabulary, a width, positions
_SIZES = ("size", "dim", "heads", "positions", "experts", "length", "rank", "layers")
# A weight takes at least so many bits in any file.
_FEWEST_BITS = 0.5
_LONGEST = 300  # characters of a library's own words
_TERSE = (LookupError, AttributeError, TypeError, ArithmeticError, AssertionError)
_CPU_SECONDS, _SECONDS = 2, 120
# Letters with which a regular expression can take long; others go through a text once.
_REPEATS = "*+{"


@contextmanager
def told(what: str) -> Iterator[None]:
    """Turn whatever a foreign file makes a library raise into one sentence.

    Args:
        what: the file or folder, and what it is; the sentence begins with it.

    Raises:
        UserError: something was raised inside that was none.
    """
    try:
        yield
    except (UserError, GeneratorExit):
        raise
    except RecursionError as error:
        raise UserError(f"{what} is nested too deeply, or leads back to itself.") from error
    except Exception as error:
        raise UserError(f"{what} cannot be read: {one_line(error)}") from error
    except BaseException as error:
        if type(error).__name__ != "PanicException":  # of a library in Rust
            raise
        raise UserError(f"{what} cannot be read: {one_line(error)}") from error


def door(what: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """`told` for a function whose first argument names what comes in; "{}" stands for it."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def inside(first: Any, *args: Any, **kwargs: Any) -> Any:
            with told(what.format(str(first)[:_LONGEST])):
                return function(first, *args, **kwargs)

        return inside

    return decorate


def one_line(error: BaseException) -> str:
    """An error's words without line breaks; its kind before them where they say little alone."""
    words = " ".join(str(error).split())[:_LONGEST].rstrip(".")
    kind = f"{type(error).__name__}: " if isinstance(error, _TERSE) else ""
    return f"{kind}{words}." if words else f"{type(error).__name__}."


def read_object(path: Path) -> dict[str, Any]:
    """A JSON file that holds an object.

    Raises:
        UserError: it cannot be read, or holds something else.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text: {one_line(error)}") from error
    except ValueError as error:
        raise UserError(f"{path} is not valid JSON: {error}.") from error
    except (OSError, RecursionError) as error:
        raise UserError(f"{path} cannot be read: {one_line(error)}") from error
    if not isinstance(content, dict):
        raise UserError(f"{path} must hold a JSON object, and holds {type(content).__name__}.")
    return content


def check_model_config(folder: Path) -> None:
    """Refuse a model of absurd size before anybody builds it, by its config.json.

    Raises:
        UserError: the file cannot be read; a size is beyond any model's, or many times what the
            folder's weights hold.
    """
    path = folder / "config.json"
    config = read_object(path)
    _check_sizes(path, config, 0)
    weights = _fewest_weights(config)
    held = sum(file.stat().st_size for file in folder.rglob("*.safetensors") if file.is_file())
    if held and weights * _FEWEST_BITS / 8 > held + 2**20:
        raise UserError(
            f"{path} describes a model of more than {weights:,} weights, and the files beside it "
            f"hold {held:,} bytes: it is another model's, or damaged."
        )


def _fewest_weights(config: dict[str, Any]) -> int:
    """Fewer weights than a decoder of these sizes has; 0 where the sizes are not told."""
    inner = config.get("text_config")
    config = inner if isinstance(inner, dict) else config
    names = ("num_hidden_layers", "hidden_size", "vocab_size", "intermediate_size")
    given = [config.get(name) for name in names]
    layers, hidden, words, wide = (one if isinstance(one, int) else 0 for one in given)
    return max(0, hidden * (words + layers * wide))


def _check_sizes(path: Path, config: dict[str, Any], depth: int) -> None:
    for name, value in config.items():
        if isinstance(value, dict) and depth < 3:
            _check_sizes(path, value, depth + 1)
        if not isinstance(value, int) or not any(part in name for part in _SIZES):
            continue
        most = _MOST_LAYERS if "layers" in name else _MOST
        if value > most and "max" not in name:
            raise UserError(f"{path}: {name} is {value}; no model has more than {most:,}.")


def check_adapter_config(path: Path) -> None:
    """Check of an adapter's config what a library would take hours or all memory to find out.

    Raises:
        UserError: it is no JSON object, names a rank that is absurd, or brings a regular expression
            that is none or takes too long.
    """
    config = read_object(path)
    _check_sizes(path, {name: v for name, v in config.items() if name != "r"}, 0)
    for name in ("r", "lora_alpha", "lora_dropout"):
        value = config.get(name)
        if isinstance(value, bool | str | list | dict):
            raise UserError(f"{path}: {name} is {value!r:.80}; it must be a number.")
    if isinstance(config.get("r"), int) and not 0 <= config["r"] <= _MOST_LAYERS * 10:
        raise UserError(f"{path}: r is {config['r']}; it must be a rank, 1 or more.")
    named = [config.get(name) for name in ("target_modules", "exclude_modules", "layers_pattern")]
    texts = [one for one in named if isinstance(one, str)]
    for name in ("rank_pattern", "alpha_pattern"):
        texts += [str(key) for key in (config.get(name) or {})]
    for text in texts:
        check_pattern(text, str(path))


def check_pattern(pattern: str, where: str) -> None:
    """Check that a regular expression from a file is one, and is done in time.

    Raises:
        UserError: it is none, or takes too long on the names of a model's modules.
    """
    import re

    try:
        re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        raise UserError(f"{where}: '{pattern:.80}' is no regular expression: {error}.") from error
    if sum(map(pattern.count, _REPEATS)) < 2:
        return
    names = [f"model.layers.{n}.{part}" for n in (0, 31) for part in _MODULES] + ["a" * 60 + "!"]
    if not _ends(_TRY_PATTERN, json.dumps([pattern, names])):
        raise UserError(
            f"{where}: the regular expression '{pattern:.80}' takes more than {_CPU_SECONDS} "
            "seconds for the names of a model's modules: name the modules in a list instead."
        )


_MODULES = ["self_attn.q_proj", "mlp.down_proj", "mlp.experts.127.gate_up_proj", "input_layernorm"]
# A program begins with the peak of the process that started it (Linux hands it on), which is no
# fault of what is tried: only what lies above that and above the limit is.
_LIMIT = f"""
import sys, json
try:
    import resource
    def peak():
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    most = max(2 << 30, peak())
    resource.setrlimit(resource.RLIMIT_CPU, ({_CPU_SECONDS}, {_CPU_SECONDS}))
    resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))
except (ImportError, ValueError, OSError):
    pass
sys.path[:], given = json.loads(sys.stdin.read())
"""
# Not every system keeps to a limit of addresses (macOS does not).
_MEASURE = """
try:
    sys.exit(peak() > most)
except NameError:
    pass
"""
_TRY_PATTERN = f"""{_LIMIT}
import re
for name in given[1]:
    re.match(given[0], name), re.fullmatch(given[0], name)
"""
# As transformers renders, but for what it hands in: whether it ends is all that is asked.
_TRY_TEMPLATE = f"""{_LIMIT}
import re
from jinja2.ext import loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment
def refuse(message): raise ValueError(message)
text = re.sub(r"{{%-?\\s*(end)?generation\\s*-?%}}", "", given)
try:
    world = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True,
                                          extensions=[loopcontrols])
    world.filters["tojson"] = lambda value, **_: json.dumps(value)
    world.globals.update(raise_exception=refuse, strftime_now=lambda form: str(form))
    turns = [dict(role="user", content="?"), dict(role="assistant", content="!")]
    for messages in (turns[:1], turns):
        world.from_string(text).render(messages=messages, add_generation_prompt=True, tools=None,
                                       bos_token="", eos_token="")
except MemoryError:
    sys.exit(1)
except Exception:
    pass
{_MEASURE}"""


def check_template_ends(text: str, where: str) -> None:
    """Check that a chat template comes to an end; what else is wrong with it shows later.

    Raises:
        UserError: it takes too long, or too much memory.
    """
    if not _ends(_TRY_TEMPLATE, json.dumps(text)):
        raise UserError(
            f"{where} takes more than {_CPU_SECONDS} seconds, or 2 GiB, for one question: it is no "
            "chat template."
        )


@lru_cache(maxsize=256)
def _ends(program: str, given: str) -> bool:
    """Whether a small program comes to its end within the limits.

    Alone (-I) it would not see libraries that are here by PYTHONPATH or in a user's own folder.
    """
    places = [one for one in sys.path if one]
    try:
        done = subprocess.run(
            [sys.executable, "-I", "-c", program],
            input=f"[{json.dumps(places)}, {given}]".encode(),
            capture_output=True,
            timeout=_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0
