"""Whatever is wrong in a foreign file: taken, or told in one sentence; no traceback, no hang.

`generator.py` makes the inputs. Each goes through the doors that foreign files come in by, in this
process, and some through the command itself.
"""

import json
import os
import resource
import signal
import subprocess
import sys
import venv
import warnings
from contextlib import contextmanager

import pytest
from generator import cases
from peft import LoraConfig, get_peft_model

from command import holdfast
from holdfast.errors import UserError
from holdfast.models.foreign import check_template_ends
from holdfast.models.loading import load_last_open, load_merged
from holdfast.models.stack import resolve
from holdfast.models.tokenizers import load_tokenizer
from holdfast.stages.making import make_stage
from hub_folders import write_model

LONGEST = 20  # seconds of computing for one input
MOST = 2**20  # KiB that this process may grow by


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    place = tmp_path_factory.mktemp("good")
    base = write_model(place / "model", chat=True, hidden_size=16, num_hidden_layers=1)
    model = get_peft_model(
        load_merged(resolve(base)), LoraConfig(r=2, lora_alpha=4, target_modules=["q_proj"])
    )
    model.save_pretrained(place / "adapter")
    return {"model": base, "adapter": place / "adapter"}


@contextmanager
def limited():
    def over(*_):
        raise TimeoutError("it takes too long")

    # Of the processor's time, as the machine may be busy; what sleeps is ended by the clock.
    before = [signal.signal(one, over) for one in (signal.SIGPROF, signal.SIGALRM)]
    signal.setitimer(signal.ITIMER_PROF, LONGEST)
    signal.alarm(10 * LONGEST)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.alarm(0)
        for one, handler in zip((signal.SIGPROF, signal.SIGALRM), before, strict=True):
            signal.signal(one, handler)


def go_through(case, good):
    """Do with an input what a command would do; gives the sentence that it was refused with."""
    base = str(good["model"])
    try:
        if case.kind == "model":
            stack = resolve(case.path)
            make_stage("align", {"method": "sft", "model": str(case.path), "data": ROWS})
            load_tokenizer(stack)
            load_merged(stack)
        elif case.kind == "adapter":
            stack = resolve(f"{base}+{case.path}")
            load_merged(stack)
            load_last_open(stack, trainable=True)
            resolve(case.path)
        else:
            given = {"method": "sft", "model": base, "data": ROWS}
            given |= {"template" if case.kind == "template" else "data": str(case.path)}
            make_stage("align", given)
            if case.kind == "template":
                load_tokenizer(resolve(base), str(case.path))
    except UserError as error:
        return str(error)
    return None


ROWS = ""


def check(seed, count, good, tmp_path, monkeypatch):
    """Every input of the generator; gives how many were refused."""
    global ROWS
    place = tmp_path / "inputs"
    place.mkdir()
    rows = tmp_path / "good.jsonl"
    rows.write_text(json.dumps({"instruction": "What is a zorn?", "output": "A grel."}))
    ROWS = str(rows)
    monkeypatch.chdir(tmp_path)
    wrong, refused = [], 0
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss + MOST
    for case in cases(seed, count, good, place):
        before = set(tmp_path.rglob("*"))
        try:
            with limited(), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                if case.kind == "study":
                    ended = holdfast("run", case.path, "--plan", "--output", "out")
                    told = ended.err if ended.code else None
                    if ended.code not in (0, 2):
                        wrong.append(f"{case.name}: ended with {ended.code}: {ended.err}")
                else:
                    told = go_through(case, good)
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                raise
            wrong.append(f"{case.kind}, {case.name}: {type(error).__name__}: {error!s:.200}")
            continue
        if told is not None:
            refused += 1
            if told.strip().count("\n") or len(told) > 1200:
                wrong.append(f"{case.name}: not one sentence: {told!r}")
        if (now := resource.getrusage(resource.RUSAGE_SELF).ru_maxrss) > most:
            wrong.append(f"{case.kind}, {case.name}: the process held {now / 2**20:.1f} GiB")
            most = now
        if set(tmp_path.rglob("*")) != before:
            wrong.append(f"{case.name}: left {set(tmp_path.rglob('*')) - before}")
    assert not wrong, f"{len(wrong)} of {count}:\n" + "\n".join(wrong)
    return refused


@pytest.mark.parametrize(
    "text", ["{{ 'a' * 10**10 }}", "{{ 'a' * 3 * 10**9 }}", "{{ 'ab' * (10**9 + 10**8) }}"]
)
def test_a_template_that_takes_all_memory_is_refused_and_takes_none_here(text):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(UserError, match=r"or 2 GiB, for one question: it is no chat template"):
        check_template_ends(text, "own.jinja")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < before + 2**18  # KiB


def test_what_this_process_holds_is_no_fault_of_a_template():
    """A process begins with the peak of the one that started it: a 7B model's, say."""
    code = (
        "held = bytes(b'x') * (2 ** 31 + 2 ** 28)\n"
        "from holdfast.models.foreign import check_pattern, check_template_ends\n"
        "check_template_ends('{{ messages[0].content }}', 'own.jinja')\n"
        "check_pattern('(a|b)*c+', 'adapter_config.json')\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr


def test_a_template_is_tried_where_libraries_are_from_elsewhere(tmp_path):
    """From a user's own folder (`pip install --user`), or one that PYTHONPATH names."""
    venv.create(tmp_path, symlinks=True)
    code = (
        "from holdfast.models.foreign import check_template_ends\n"
        "check_template_ends('{{ messages[0].content }}', 'own.jinja')\n"
    )
    places = os.pathsep.join(filter(None, sys.path))
    environment = {**os.environ, "PYTHONPATH": places}
    ended = subprocess.run(
        [tmp_path / "bin" / "python", "-c", code], env=environment, capture_output=True, text=True
    )
    assert ended.returncode == 0, ended.stderr


def test_five_hundred_hostile_inputs(good, tmp_path, monkeypatch):
    assert check(10, 500, good, tmp_path, monkeypatch) > 200


@pytest.mark.long
def test_two_thousand_more(good, tmp_path, monkeypatch):
    assert check(11, 2000, good, tmp_path, monkeypatch) > 800
