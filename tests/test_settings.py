"""Fields read from source, settings read from YAML and words, and the sentences about mistakes."""

import dataclasses
import importlib
import subprocess
import sys
from typing import Literal

import pytest

from holdfast.errors import UserError
from holdfast.settings import (
    REQUIRED,
    Expression,
    Field,
    check,
    fields_of,
    load_yaml,
    merge,
    nearest,
    parse_overrides,
)

BASE = '''
"""A module that must never run."""
from dataclasses import dataclass, field
from typing import ClassVar, Literal
raise RuntimeError("imported")

State = Literal["alignment", "user"]
NAMES = ("q_proj", "v_proj")

@dataclass
class Base:
    """The base.

    Args:
        seed: the seed of
            the run.
        state (`str`): which one: first or second.

    Raises:
        nothing: not a field.
    """

    seed: int = 43
    state: State = "user"
    kinds: ClassVar[list[str]] = []
    hidden: int = field(default=1, init=False)
    path: "str | None" = None
    names: tuple[str, ...] = NAMES

    def method(self):
        local: int = 3
'''
CHILD = '''
import os
from dataclasses import dataclass, field
from .base import Base as Ground

@dataclass
class Child(Ground):
    """The child.

    Args:
        rho: the norm ρ.
    """

    rate: float
    rho: float = -2.5
    seed: int = 0
    targets: list[str] = field(default_factory=list)
    sizes: dict[str, int] = field(default_factory=lambda: {"a": 1})
    folder: str = os.sep
    told: int = field(default=8, metadata={"help": "Told "
                                                    "here."})
'''


@pytest.fixture
def package(tmp_path, monkeypatch, request):
    name = f"package_of_{request.node.name.split('[')[0]}"
    folder = tmp_path / name
    folder.mkdir()
    (folder / "__init__.py").write_text("raise RuntimeError('imported')")
    (folder / "base.py").write_text(BASE)
    (folder / "child.py").write_text(CHILD)
    monkeypatch.syspath_prepend(tmp_path)
    return name


def test_fields_come_from_source_with_bases_types_defaults_and_help(package):
    fields = fields_of(f"{package}.child:Child")
    state = "Literal['alignment', 'user']"
    expected = [
        Field("seed", "int", 0, "the seed of the run."),
        Field("state", state, "user", "which one: first or second."),
        Field("path", "str | None", None, ""),
        Field("names", "tuple[str, ...]", ("q_proj", "v_proj"), ""),
        Field("rate", "float", REQUIRED, ""),
        Field("rho", "float", -2.5, "the norm ρ."),
        Field("targets", "list[str]", [], ""),
        Field("sizes", "dict[str, int]", {"a": 1}, ""),
        Field("folder", "str", "os.sep", ""),
        Field("told", "int", 8, "Told here."),
    ]
    assert list(fields.values()) == expected
    assert list(fields) == [field.name for field in expected]
    assert isinstance(fields["folder"].default, Expression)
    assert package not in sys.modules


def test_modules_and_classes_that_are_not_there(package):
    with pytest.raises(LookupError, match="has no class None"):
        fields_of(f"{package}.child:None")
    with pytest.raises(LookupError, match=r"no module .*gone"):
        fields_of(f"{package}.gone:Child")
    with pytest.raises(LookupError, match="no module no_such_package"):
        fields_of("no_such_package.gone:Child")


@pytest.mark.parametrize(
    "target",
    [
        "holdfast.training:SFTConfig",
        "holdfast.align.vaccine:VaccineConfig",
        "holdfast.align.t_vaccine:TVaccineConfig",
        "holdfast.align.random_perturbation:RandomPerturbationConfig",
        "holdfast.finetune.lisa:LisaConfig",
    ],
)
def test_the_real_configs_have_the_fields_that_python_sees(target):
    fields = fields_of(target)
    module, _, name = target.partition(":")
    real = getattr(importlib.import_module(module), name)
    expected = {field.name: field for field in dataclasses.fields(real) if field.init}
    assert fields.keys() == expected.keys()
    for key, field in fields.items():
        if expected[key].default is dataclasses.MISSING:
            made = expected[key].default_factory
            value = REQUIRED if made is dataclasses.MISSING else made()
        else:
            value = expected[key].default
        if not isinstance(field.default, Expression):
            assert field.default == value, key
    own = set(real.__annotations__) & set(fields)
    assert all(fields[key].help for key in own), "every setting has a meaning"
    assert fields["learning_rate"].help.startswith("The initial learning rate")


def test_a_real_config_is_read_at_once_and_nothing_heavy_with_it():
    code = (
        "import sys, time\n"
        "start = time.perf_counter()\n"
        "from holdfast.settings import *\n"
        "fields_of('holdfast.align.vaccine:VaccineConfig')\n"
        "print(time.perf_counter() - start, *{'torch', 'transformers', 'numpy'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    seconds, *heavy = done.stdout.split()
    assert heavy == []
    assert float(seconds) < 2  # importing the module itself takes several times as long


ALLOWED = {
    name: Field(name, kind, None, "")
    for name, kind in {
        "rho": "float",
        "steps": "int",
        "every": "int | None",
        "bf16": "bool",
        "name": "str",
        "freeze": "Literal['layer', 'attention'] | None",
        "targets": "list[str] | str",
        "betas": "tuple[float, ...]",
        "modules": "set[str]",
        "options": "dict[str, int] | None",
        "schedule": "SchedulerType | str",
        "optional": "Optional[Union[int, bool]]",
        "anything": "Any",
    }.items()
} | {"lora": {"r": Field("r", "int", 8, ""), "alpha": Field("alpha", "float", 4.0, "")}}


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("rho=2", 2.0), ("rho=1e-3", 0.001), ("rho='1e-3'", 0.001), ("rho=-.5", -0.5),
        ("steps=7", 7), ("steps=010", 10), ("steps=1e3", 1000), ("steps=3.0", 3), ("every=", None),
        ("every=null", None), ("bf16=true", True), ("bf16=False", False), ("name=no", "no"),
        ("name=1:30", "1:30"), ("name=2024-01-01", "2024-01-01"), ("name=#1", "#1"),
        ("name=a: b", "a: b"), ("name=a=b", "a=b"), ("name='7'", "7"), ("freeze=layer", "layer"),
        ("freeze=~", None), ("targets=[q, v]", ["q", "v"]), ("targets=all-linear", "all-linear"),
        ("betas=[0.9, 1]", (0.9, 1.0)), ("modules=[a, a]", {"a"}), ("options={a: 1}", {"a": 1}),
        ("schedule=cosine", "cosine"), ("optional=true", True), ("optional=3", 3),
        ("optional=null", None), ("anything=[1, a]", [1, "a"]), ("lora.r=4", {"r": 4}),
    ],
)  # fmt: skip
def test_values_get_their_fields_types(word, value):
    (checked,) = check(parse_overrides([word]), ALLOWED, "the command line").values()
    assert checked == value
    assert type(checked) is type(value)


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("rhoo=2", "there is no setting 'rhoo'; did you mean 'rho'?"),
        ("BF-16=true", "there is no setting 'BF-16'; did you mean 'bf16'?"),
        ("xyzzy=2", "there is no setting 'xyzzy'"),
        ("lora.rank=2", "there is no setting 'lora.rank'"),
        ("lora.alfa=2", "there is no setting 'lora.alfa'; did you mean 'alpha'?"),
        ("lora.r=x", "lora.r must be a whole number, and is 'x'"),
        ("lora=3", "lora must hold settings, such as lora.r, and is 3"),
        ("rho=strong", "rho must be a number, and is 'strong'"),
        ("rho=true", "rho must be a number, and is true"),
        ("rho=.nan", "rho must be a finite number, and is nan"),
        ("rho=nan", "rho must be a number, and is 'nan'"),
        ("rho=", "rho must be a number, and is null"),
        ("rho.a=1", "rho must be a number, and is {'a': 1}"),
        ("steps=1.5", "steps must be a whole number, and is 1.5"),
        ("every=many", "every must be a whole number or null, and is 'many'"),
        ("bf16=yes", "bf16 must be true or false, and is 'yes'"),
        ("bf16=1", "bf16 must be true or false, and is 1"),
        ("name=7", "name must be text, and is 7; put it in quotes"),
        ("name=[a]", "name must be text, and is ['a']"),
        (
            "freeze=layers",
            "freeze must be one of 'layer', 'attention' or null, and is 'layers'; "
            "did you mean 'layer'?",
        ),
        ("targets=[q, 3]", "targets[1] must be text, and is 3; put it in quotes"),
        ("betas=[0.9, x]", "betas[1] must be a number, and is 'x'"),
        ("modules=a", "modules must be a list [a, b], and is 'a'"),
        ("options=3", "options must be a mapping {key: value} or null, and is 3"),
    ],
)
def test_mistakes_in_values_are_one_sentence(word, message):
    with pytest.raises(UserError) as caught:
        check(parse_overrides([word]), ALLOWED, "the command line")
    assert str(caught.value) == f"the command line: {message}"


def test_overrides_nest_and_the_last_one_counts():
    words = ["rho=1", "lora.r=8", "rho=2", "lora.alpha=1"]
    assert parse_overrides(words) == {"rho": 2, "lora": {"r": 8, "alpha": 1}}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["rho"], "'rho' on the command line is no setting; settings are written key=value"),
        (["=3"], "is no setting"),
        (["lora..r=3"], "is no setting"),
        (["lora=1", "lora.r=8"], "'lora.r=8' on the command line: 'lora' is a single value"),
        (["a=[1"], r"'a=\[1' on the command line is no YAML value"),
        (["a={b: 1, b: 2}"], "the key 'b' is there twice"),
    ],
)
def test_mistakes_in_overrides(words, message):
    with pytest.raises(UserError, match=message):
        parse_overrides(words)


def test_yaml_files_have_the_scalars_of_version_1_2(tmp_path):
    file = tmp_path / "run.yaml"
    text = "\ufeffa: 1e-3\nb: no\nc: 010\nd: {e: [1, 2.5, yes]}\nf: 1:30\ng:\nh: true\n"
    file.write_text(text, encoding="utf-8")
    assert load_yaml(file) == {
        "a": 0.001, "b": "no", "c": 10, "d": {"e": [1, 2.5, "yes"]}, "f": "1:30", "g": None,
        "h": True,
    }  # fmt: skip
    file.write_text("# nothing\n")
    assert load_yaml(file) == {}
    file.write_text("base: &base {r: 8}\nlora:\n  <<: *base\n  alpha: 4\n")
    assert load_yaml(file)["lora"] == {"r": 8, "alpha": 4}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: 2\na: 3\n", "run.yaml, line 3: the key 'a' is there twice"),
        ("a: 1\nlora:\n\tr: 8\n", "run.yaml, line 3: a tab stands in the indentation"),
        ("a: [1\nb: 2\n", "run.yaml, line 2: "),
        ("a: 1\nb: [1\n", "run.yaml, line 2: expected ',' or ']'"),
        ('a: 1\nb: "open\n\n', "run.yaml, line 2: "),
        ("a: 1\nb: {c: 1", "run.yaml, line 2: "),
        ("a: 1\n b: 2\n", "run.yaml, line 2: "),
        ("a: 1\n3: 2\n", "run.yaml, line 2: a key that is not text"),
        ("- a\n- b\n", "run.yaml: must hold settings as 'key: value' lines"),
        ("words\n", "run.yaml: must hold settings"),
        ("a: !!python/object/apply:os.getcwd []\n", "run.yaml, line 1: could not determine a con"),
        ("a: 1\n---\nb: 2\n", "run.yaml, line 2: "),
        ("a: \x01\n", "run.yaml: "),
    ],
)
def test_mistakes_in_yaml_files(tmp_path, text, message):
    file = tmp_path / "run.yaml"
    file.write_text(text)
    with pytest.raises(UserError) as caught:
        load_yaml(file)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_yaml_files_that_cannot_be_read(tmp_path):
    with pytest.raises(UserError, match=r"none.yaml: there is no such file"):
        load_yaml(tmp_path / "none.yaml")
    with pytest.raises(UserError, match="cannot be read"):
        load_yaml(tmp_path)
    (tmp_path / "latin.yaml").write_bytes(b"a: K\xf6ln\n")
    with pytest.raises(UserError, match="byte 4 is not UTF-8"):
        load_yaml(tmp_path / "latin.yaml")


def test_merge_goes_key_by_key_and_leaves_its_arguments():
    below = {"a": 1, "lora": {"r": 8, "alpha": 4}, "b": {"c": 1}}
    over = {"lora": {"r": 16}, "b": None, "d": [1]}
    merged = merge(below, over)
    assert merged == {"a": 1, "lora": {"r": 16, "alpha": 4}, "b": None, "d": [1]}
    assert below == {"a": 1, "lora": {"r": 8, "alpha": 4}, "b": {"c": 1}}


@pytest.mark.parametrize(
    ("word", "choice"),
    [("vacine", "vaccine"), ("T-Vaccine", "t_vaccine"), ("LISA", "lisa"), ("zzz", None)],
)
def test_nearest(word, choice):
    assert nearest(word, ["lisa", "vaccine", "t_vaccine"]) == choice


def test_true_is_not_the_choice_one():
    allowed = {"a": Field("a", str(Literal[0, 1]), 0, "")}
    assert check({"a": 1}, allowed, "x") == {"a": 1}
    with pytest.raises(UserError, match="one of 0, 1, and is true"):
        check({"a": True}, allowed, "x")


@pytest.mark.parametrize(
    "text",
    [
        "a: !!int abc", "a: !!float x", "a: !!timestamp x", "a: !!set 3", "a: " + "9" * 5000,
        "a: " + "[" * 3000 + "]" * 3000, "a: " + "{a: " * 2000 + "}" * 2000, "a: \x00",
        "\n".join(["a: &a0 [x, x]"] + [f"b{i}: &a{i + 1} [*a{i}, *a{i}]" for i in range(30)]),
    ],
)  # fmt: skip
def test_whatever_no_loader_foresees_is_one_sentence_too(tmp_path, text):
    """A value under a tag that it is none of, thousands of brackets, a billion aliases."""
    path = tmp_path / "settings.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=r"^.*settings\.yaml[^\n]*$"):
        load_yaml(path)


def test_a_word_with_a_control_character_is_a_mistake():
    with pytest.raises(UserError, match="is no YAML value: special characters are not allowed"):
        parse_overrides(["a=\x07"])
