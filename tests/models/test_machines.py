"""Machines that are not here: cards, several of them, Apple's. All are stand-ins.

No run on the real things has been made.
"""

import ctypes
from types import SimpleNamespace

import pytest
import torch

from holdfast import SFTConfig, SFTTrainer
from holdfast.align import perturbation
from holdfast.engine import gpus, pool, worker
from holdfast.evaluate import batching
from holdfast.models import accelerator
from holdfast.models.stack import resolve
from holdfast.stages.evaluation.settings import stage_protocol
from holdfast.stages.resolve import resolve as resolve_settings
from tiny_models import lora

T4, V100, A100, H100 = (7, 5), (7, 0), (8, 0), (9, 0)


class Nvml:
    """NVIDIA's management library on a machine with some cards, all named GPU-0, GPU-1, … too."""

    def __init__(self, cards):
        self.cards = cards

    def nvmlInit_v2(self):  # noqa: N802  (its own names)
        return 0

    def nvmlShutdown(self):  # noqa: N802
        return 0

    def nvmlDeviceGetCount_v2(self, count):  # noqa: N802
        count._obj.value = len(self.cards)
        return 0

    def nvmlDeviceGetHandleByIndex_v2(self, index, device):  # noqa: N802
        device._obj.value = 1 + index.value
        return 0 if index.value < len(self.cards) else 2

    def nvmlDeviceGetHandleByUUID(self, name, device):  # noqa: N802
        if not name.startswith(b"GPU-"):
            return 2
        return self.nvmlDeviceGetHandleByIndex_v2(ctypes.c_uint(int(name[4:])), device)

    def nvmlDeviceGetCudaComputeCapability(self, device, major, minor):  # noqa: N802
        major._obj.value, minor._obj.value = self.cards[device.value - 1]
        return 0


@pytest.fixture
def machine(monkeypatch):
    """Put NVIDIA cards into this machine: `machine(T4, A100)`, and show some: `shows="1"`."""

    def forget():
        accelerator.has_accelerator.cache_clear()
        accelerator.lacks_bfloat16.cache_clear()

    def put(*cards, shows=None):
        forget()
        monkeypatch.setattr(accelerator.ctypes, "CDLL", lambda _: Nvml(cards))
        monkeypatch.setattr(accelerator, "torch_builds", lambda: {"cuda"})
        monkeypatch.setattr(accelerator.sys, "platform", "linux")
        if shows is None:
            monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        else:
            monkeypatch.setenv("CUDA_VISIBLE_DEVICES", shows)

    yield put
    monkeypatch.undo()
    forget()


@pytest.mark.parametrize(
    ("shows", "expected"),
    [
        (None, ["0", "1", "2"]),
        ("2,0", ["2", "0"]),
        ("GPU-1, MIG-7", ["GPU-1", "MIG-7"]),
        ("1,-1,0", ["1"]),  # CUDA ends at the first that is none
        ("", []),
        ("-1", []),
    ],
)
def test_visible_gpus_are_those_that_cuda_would_find(machine, shows, expected):
    machine(T4, T4, A100, shows=shows)
    assert accelerator.visible_gpus() == expected


@pytest.mark.parametrize(
    ("cards", "shows", "dtype"),
    [
        ([A100, H100], None, "bfloat16"),
        ([T4], None, "float16"),
        ([V100, A100], None, "float16"),
        ([V100, A100], "1", "bfloat16"),
        ([V100, A100], "GPU-0", "float16"),
        ([A100], "MIG-7", "bfloat16"),  # only cards since Ampere are divided
        ([T4], "", "float32"),
    ],
)
def test_dtype_auto_is_one_that_the_visible_cards_compute_in(machine, cards, shows, dtype):
    machine(*cards, shows=shows)
    assert accelerator.automatic_dtype() == dtype


def test_a_card_without_bfloat16_trains_and_measures_in_float16(base, machine):
    stack = resolve(base)

    def settings(kind, **more):
        return resolve_settings(kind, more, stack)

    machine(A100)
    assert settings("evaluate")["dtype"] == "bfloat16"
    assert not settings("align")["fp16"]
    machine(T4)
    adapter = settings("align", bf16=True)
    # Small gradients are nothing in float16: the loss is scaled, which wants float32 to train.
    assert (adapter["dtype"], adapter["fp16"], adapter["bf16"]) == ("float16", True, False)
    full = settings("align", adapter="full")
    assert (full["dtype"], full["fp16"]) == ("float32", True)
    assert not settings("align", dtype="bfloat16")["fp16"]  # whoever says it has it
    measured = settings("evaluate")
    assert measured["dtype"] == "float16"
    assert stage_protocol(measured).dtype == "float16"
    assert stage_protocol(measured).version == "4, changed"
    organism = resolve_settings("align", {}, resolve("organism"))
    assert (organism["dtype"], organism["fp16"]) == ("float32", False)


@pytest.mark.parametrize(
    ("count", "workers", "expected"),
    [
        (0, 2, [None, None]),
        (1, 2, [None, None]),
        (4, 1, [None]),
        (2, 2, ["0", "1"]),
        (4, 2, ["0,1", "2,3"]),
        (5, 2, ["0,1", "2,3"]),
        (2, 3, ["0", "1", "0"]),
    ],
)
def test_workers_share_the_gpus_out(count, workers, expected):
    assert gpus.shared_out([str(index) for index in range(count)], workers) == expected


def test_every_worker_is_started_with_its_own_gpus_and_shows_them_alone(machine, monkeypatch):
    machine(A100, A100, A100, shows="3,1,0")
    started = []

    class Process:
        exitcode = 1

        def __init__(self, target, args, daemon):
            assert target is worker.serve
            started.append(args[2])

        def start(self):
            pass

        def join(self, *_):
            pass

        def is_alive(self):
            return False

    context = SimpleNamespace(Pipe=torch.multiprocessing.Pipe, Process=Process)
    monkeypatch.setattr(pool.multiprocessing, "get_context", lambda _: context)
    monkeypatch.setattr(pool.sys, "platform", "darwin")
    with pool.local_pool(3) as made:
        assert started == ["3", "1", "0"]
        made.start(SimpleNamespace(stage="a"))
        died = made._busy.copy()
        for own, _ in died.values():
            assert "ended" in made._replace(own)
        assert started == ["3", "1", "0", "3"]  # who takes a dead one's place takes its GPU
    ours, theirs = torch.multiprocessing.Pipe()
    ours.send(None)
    monkeypatch.setattr(worker.signal, "signal", lambda *_: None)
    monkeypatch.setattr(worker.gc, "freeze", lambda: None)
    worker.serve(theirs, theirs, "1")
    assert worker.os.environ["CUDA_VISIBLE_DEVICES"] == "1"


def test_what_the_gpus_change_is_told_in_a_line(base, machine):
    def stage(**settings):
        settings = {"dtype": "float16", "device_map": None, "processes": 1, **settings}
        return SimpleNamespace(stack=resolve(base), settings=settings)

    machine(T4)
    assert [n[:36] for n in gpus.machine_notes([stage()])] == [
        "This GPU does not compute in bfloat16"[:36]
    ]
    assert gpus.machine_notes([stage(dtype="float32")]) == []
    machine(A100, A100)
    assert gpus.machine_notes([stage()])[0].startswith("2 GPUs are visible and 1 will be used")
    assert gpus.machine_notes([stage()], workers=2) == []
    assert gpus.machine_notes([stage(device_map="auto")]) == []
    assert gpus.machine_notes([stage(processes=2)]) == []
    assert gpus.machine_notes([stage()], 3) == [
        "3 workers share 2 GPUs: --workers 2 gives each its own."
    ]
    organism = SimpleNamespace(stack=resolve("organism"), settings={})
    assert gpus.machine_notes([organism]) == []


@pytest.mark.parametrize("spread", [False, True])
def test_a_trainer_that_sees_several_gpus_takes_one(base, rows, tmp_path, spread):
    """And a model that `device_map` has spread over them trains where it lies."""
    from holdfast.models.loading import load_base
    from holdfast.models.tokenizers import load_tokenizer

    stack, found = resolve(base), []
    for count in (1, 3):
        model = lora(load_base(stack), seed=1)
        if spread and count > 1:
            model.hf_device_map = {"model.embed_tokens": 0, "model.layers.0": 1}
        args = SFTConfig(
            str(tmp_path), max_steps=2, per_device_train_batch_size=3, report_to="none",
            use_cpu=True, save_strategy="no", disable_tqdm=True,
        )  # fmt: skip
        args._n_gpu = count
        trainer = SFTTrainer(
            model, args, train_dataset=rows, processing_class=load_tokenizer(stack)
        )
        assert trainer._train_batch_size == 3
        trainer.train()
        found.append({n: p for n, p in model.named_parameters() if p.requires_grad})
    for name, weight in found[0].items():
        torch.testing.assert_close(found[1][name], weight, rtol=0, atol=0)


def test_random_states_of_devices_that_name_none_and_of_several(monkeypatch):
    """Apple's device takes no name; a model on two GPUs drops out by the numbers of both."""
    for kind in ("mps", "cuda"):
        state = {"value": [7, 8] if kind == "cuda" else 7}

        def get(state=state):
            return state["value"]

        def put(value, state=state):
            state["value"] = value

        names = ("get_rng_state_all", "set_rng_state_all")
        names = names if kind == "cuda" else ("get_rng_state", "set_rng_state")
        module = SimpleNamespace(**dict(zip(names, (get, put), strict=True)))
        monkeypatch.setattr(perturbation.torch, "get_device_module", lambda _, m=module: m)
        kept = perturbation.RandomState(torch.device(kind))
        before, drawn = state["value"], torch.rand(3)
        state["value"] = None
        kept.restore()
        assert state["value"] == before
        assert torch.equal(torch.rand(3), drawn)


MEMORY = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
    RuntimeError("MPS backend out of memory (MPS allocated: 8 GB)"),
    RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: 9 bytes"),
]


@pytest.mark.parametrize("error", MEMORY)
def test_a_batch_is_halved_whatever_the_device_says_of_its_memory(monkeypatch, error):
    cleared, sizes = [], []
    monkeypatch.setattr(batching, "clear_device_cache", lambda: cleared.append(1))

    def run(numbers):
        sizes.append(len(numbers))
        if len(numbers) > 2:
            raise error
        return numbers

    assert batching.longest_first([1] * 5, run, 8) == ([0, 1, 2, 3, 4], 2)
    assert (sizes, len(cleared)) == ([5, 2, 2, 1], 1)
    with pytest.raises(RuntimeError, match="another"):
        batching.longest_first([1] * 5, lambda _: (_ for _ in ()).throw(RuntimeError("another")), 8)
