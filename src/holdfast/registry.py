"""Every method by its stage and name: where its code is, and what is to be told of it.

A new method has a row here and a file of its own. Nothing is imported: a command that only names
methods starts at once.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

from holdfast.plans import Plan


@dataclass(frozen=True)
class Entry:
    """A method.

    Args:
        code: "module:Trainer", or of a repair "module:function".
        config: "module:Config", the dataclass of its settings.
        title: what papers call it.
        paper: the paper's title.
        arxiv: its number.
        control: what a reader compares it with beside plain fine-tuning: another method's name, or
            a setting of its own; "" for none.
        control_of: the method whose control it is; "" for a method.
        version: raised when its computation changes, so that stages of the old one are not taken
            for the new one's.
        plan: what can be told before it runs; "module:Class" where that takes code of its own.
        organism: its settings on the organism, as `benchmarks/search_organism.py` chose them.
        adapters: the values of the setting ``adapter`` that it can do; empty for all.
        refuses: what it cannot do, as "setting" or "setting=value" ("parallel=fsdp2" and
            "processes" count with several processes alone), each with the reason in half a
            sentence.
        unverified: what of its published settings could not be read at its source.
    """

    code: str
    config: str
    title: str
    paper: str = ""
    arxiv: str = ""
    control: str = ""
    control_of: str = ""
    version: int = 1
    plan: Plan | str = field(default_factory=Plan)
    organism: Mapping[str, Any] = field(default_factory=dict)
    adapters: tuple[str, ...] = ()
    refuses: Mapping[str, str] = field(default_factory=dict)
    unverified: str = ""


_WHOLE_GRADIENTS = {"parallel=fsdp2": "it takes gradients of whole weights, so use ddp"}

_SFT = Entry("holdfast.training:SFTTrainer", "holdfast.training:SFTConfig", "SFT")

METHODS: dict[str, dict[str, Entry]] = {
    "align": {
        "sft": _SFT,
        "vaccine": Entry(
            "holdfast.align.vaccine:VaccineTrainer",
            "holdfast.align.vaccine:VaccineConfig",
            "Vaccine",
            "Vaccine: Perturbation-aware Alignment for Large Language Models against Harmful "
            "Fine-tuning Attack",
            "2402.01109",
            control="random_perturbation",
            plan="holdfast.align.plans:VaccinePlan",
            organism={"rho": 22.0},
        ),
        "t_vaccine": Entry(
            "holdfast.align.t_vaccine:TVaccineTrainer",
            "holdfast.align.t_vaccine:TVaccineConfig",
            "T-Vaccine",
            "Targeted Vaccine: Safety Alignment for Large Language Models against Harmful "
            "Fine-Tuning via Layer-wise Perturbation",
            "2410.09760",
            plan="holdfast.align.plans:TVaccinePlan",
            organism={"rho": 15.0, "layers": 5, "probe_every": 60, "draw_every": 10},
        ),
        "repnoise": Entry(
            "holdfast.align.repnoise:RepNoiseTrainer",
            "holdfast.align.repnoise:RepNoiseConfig",
            "RepNoise",
            "Representation Noising: A Defence Mechanism Against Harmful Finetuning",
            "2405.14577",
            control="repnoise with alpha=0 and beta=0 (SFT)",
            plan=Plan(passes_a_step=2.0, forwards_a_step=1.0, copies=1.0),
            organism={"harmful_rows": 500, "alpha": 0.1, "beta": 0.1},
            refuses=_WHOLE_GRADIENTS,
            unverified="learning rate (1e-5 or 2e-5); α and β are searched for every model",
        ),
        "circuit_breakers": Entry(
            "holdfast.align.circuit_breakers:CircuitBreakersTrainer",
            "holdfast.align.circuit_breakers:CircuitBreakersConfig",
            "circuit breakers",
            "Improving Alignment and Robustness with Circuit Breakers",
            "2406.04313",
            control="circuit_breakers with alpha=0 and gamma=1 (SFT)",
            plan=Plan(passes_a_step=2.0, forwards_a_step=2.0, copies=1.0),
            organism={"alpha": 1.0, "gamma": 1.0},
            refuses=_WHOLE_GRADIENTS,
            unverified="learning rate 1e-4, LoRA r 16 and α 16; the authors' code",
        ),
        "random_perturbation": Entry(
            "holdfast.align.random_perturbation:RandomPerturbationTrainer",
            "holdfast.align.random_perturbation:RandomPerturbationConfig",
            "random perturbation",
            control_of="vaccine",
            version=2,  # padding gets no noise; a row's noise is its own
            organism={"rho": 22.0},
        ),
        "deep_alignment": Entry(
            "holdfast.align.deep_alignment:DeepAlignmentTrainer",
            "holdfast.align.deep_alignment:DeepAlignmentConfig",
            "deep alignment",
            "Safety Alignment Should Be Made More Than Just a Few Tokens Deep",
            "2406.05946",
            control="deep_alignment with augmented=0 (SFT)",
            organism={"harmful_rows": 500},
        ),
        "booster": Entry(
            "holdfast.align.booster:BoosterTrainer",
            "holdfast.align.booster:BoosterConfig",
            "Booster",
            "Booster: Tackling Harmful Fine-tuning for Large Language Models via Attenuating "
            "Harmful Perturbation",
            "2409.01586",
            plan=Plan(passes_a_step=3, copies=3),
            refuses=_WHOLE_GRADIENTS,
        ),
        "ctrap": Entry(
            "holdfast.align.ctrap:CTRAPTrainer",
            "holdfast.align.ctrap:CTRAPConfig",
            "CTRAP",
            "CTRAP: Embedding Collapse Trap to Safeguard Large Language Models from Harmful "
            "Fine-Tuning",
            "2505.16559",
            plan=Plan(passes_a_step=3, copies=3),
            organism={"lam": 0.01, "normalize": True},
            refuses=_WHOLE_GRADIENTS,
            unverified="λ, α, the token, and the rows that the collapse is taken on",
        ),
        "tar": Entry(
            "holdfast.align.tar:TARTrainer",
            "holdfast.align.tar:TARConfig",
            "TAR",
            "Tamper-Resistant Safeguards for Open-Weight LLMs",
            "2408.00761",
            plan="holdfast.align.plans:TARPlan",
            organism={
                "lam": 0.1,
                "attack_steps": 4,
                "tamper_every": 2,
                "attack_learning_rate": 1e-3,
            },
            refuses=_WHOLE_GRADIENTS,
        ),
        "lox": Entry(
            "holdfast.align.lox:LoxTrainer",
            "holdfast.align.lox:LoxConfig",
            "LoX",
            "LoX: Low-Rank Extrapolation Robustifies LLM Safety Against Fine-tuning",
            "2506.15606",
            control="lox with coefficient=0 (SFT)",
            organism={"coefficient": 0.5, "directions": 6},
            refuses={"parallel=fsdp2": "its step needs whole matrices"},
            unverified="that the paper uses k = 6 and c = 1.25",
        ),
    },
    "finetune": {
        "sft": _SFT,
        "lisa": Entry(
            "holdfast.finetune.lisa:LisaTrainer",
            "holdfast.finetune.lisa:LisaConfig",
            "Lisa",
            "Lisa: Lazy Safety Alignment for Large Language Models against Harmful Fine-tuning "
            "Attack",
            "2405.18641",
            control="lisa with rho=0 (BSO)",
            plan="holdfast.finetune.schedule:LisaPlan",
            organism={"rho": 0.03, "alignment_steps": 10, "user_steps": 20},
        ),
        "ewc": Entry(
            "holdfast.finetune.ewc:EWCTrainer",
            "holdfast.finetune.ewc:EWCConfig",
            "EWC",
            "Overcoming catastrophic forgetting in neural networks",
            "1612.00796",
            control="l2_sp",
            plan="holdfast.finetune.plans:EWCPlan",
            organism={"strength": 5000.0},
            refuses={"parallel=fsdp2": "its Fisher information needs whole weights"},
        ),
        "l2_sp": Entry(
            "holdfast.finetune.l2_sp:L2SPTrainer",
            "holdfast.finetune.l2_sp:L2SPConfig",
            "L2-SP",
            "Explicit Inductive Bias for Transfer Learning with Convolutional Networks",
            "1802.01483",
            control_of="ewc",
            plan=Plan(copies=1.0),
            organism={"strength": 0.003},
        ),
        "safe_mix": Entry(
            "holdfast.finetune.safe_mix:SafeMixTrainer",
            "holdfast.finetune.safe_mix:SafeMixConfig",
            "SafeInstr",
            "Safety-Tuned LLaMAs: Lessons From Improving the Safety of Large Language Models that "
            "Follow Instructions",
            "2309.07875",
            control="safe_mix with share=0 (SFT)",
            plan="holdfast.finetune.plans:SafeMixPlan",
            organism={"share": 0.5},
        ),
        "vlguard": Entry(
            "holdfast.finetune.vlguard:VLGuardTrainer",
            "holdfast.finetune.vlguard:VLGuardConfig",
            "VLGuard",
            "Safety Fine-Tuning at (Almost) No Cost: A Baseline for Vision Large Language Models",
            "2402.02207",
            plan=Plan(passes_a_step=2, copies=1),
            refuses=_WHOLE_GRADIENTS,
        ),
        "safegrad": Entry(
            "holdfast.finetune.safegrad:SafeGradTrainer",
            "holdfast.finetune.safegrad:SafeGradConfig",
            "SafeGrad",
            "Gradient Surgery for Safe LLM Fine-Tuning",
            "2508.07172",
            plan=Plan(passes_a_step=2, forwards_a_step=1, copies=2),
            refuses=_WHOLE_GRADIENTS,
            unverified="ρ, and which way the divergence from the aligned model is taken",
        ),
        "surgery": Entry(
            "holdfast.finetune.surgery:SurgeryTrainer",
            "holdfast.finetune.surgery:SurgeryConfig",
            "Surgery",
            "Surgery: Mitigating Harmful Fine-Tuning for Large Language Models via Attention Sink",
            "2602.05228",
            control="surgery with alpha=0 (SFT)",
            plan="holdfast.finetune.plans:SurgeryPlan",
            organism={"attn_implementation": "eager", "probe_rows": 200, "alpha": 30.0},
            refuses=_WHOLE_GRADIENTS,
            unverified="whether the paper's text has the settings of its authors' script",
        ),
        "lookahead": Entry(
            "holdfast.finetune.lookahead:LookAheadTrainer",
            "holdfast.finetune.lookahead:LookAheadConfig",
            "LookAhead",
            "LookAhead Tuning: Safer Language Models via Partial Answer Previews",
            "2503.19041",
            control="lookahead with tokens=0 (SFT)",
            organism={
                "form": "virtual",
                "prefix": "take care. ",
                "connector": " say: ",
                "max_length": 96,
            },
        ),
        "panacea": Entry(
            "holdfast.finetune.panacea:PanaceaTrainer",
            "holdfast.finetune.panacea:PanaceaConfig",
            "Panacea",
            "Panacea: Mitigating Harmful Fine-tuning for Large Language Models via "
            "Post-fine-tuning Perturbation",
            "2501.18100",
            control="panacea with lam=0 (the perturbation alone)",
            plan=Plan(passes_a_step=3, copies=4),
            organism={"probe_rows": 200, "rho": 0.3, "lam": 0.01},
            refuses=_WHOLE_GRADIENTS,
            unverified="whether the published numbers were made with the harmful loss clamped at 5",
        ),
        "kl": Entry(
            "holdfast.finetune.kl:KLTrainer",
            "holdfast.finetune.kl:KLConfig",
            "KL",
            "Vaccine: Perturbation-aware Alignment for Large Language Models against Harmful "
            "Fine-tuning Attack (its baseline)",
            "2402.01109",
            control="l2_sp",
            plan="holdfast.finetune.plans:TeacherPlan",
            organism={"strength": 1.0},
            unverified="λ of the paper's tables; its code's is of another scale",
        ),
        "ldifs": Entry(
            "holdfast.finetune.ldifs:LDIFSTrainer",
            "holdfast.finetune.ldifs:LDIFSConfig",
            "LDIFS",
            "Fine-tuning can cripple your foundation model; preserving features may be the "
            "solution",
            "2308.13320",
            control="l2_sp",
            plan="holdfast.finetune.plans:TeacherPlan",
            organism={"rho": 0.003},
            unverified="the paper's text; its settings are those of the authors' code",
        ),
        "bds": Entry(
            "holdfast.finetune.bds:BDSTrainer",
            "holdfast.finetune.bds:BDSConfig",
            "BDS",
            "Adaptive Defense against Harmful Fine-Tuning for Large Language Models via Bayesian "
            "Data Scheduler",
            "2510.27172",
            control="bds with selector_rate=0 (rows of equal weight)",
            plan=Plan(passes_a_step=2, copies=1),
            refuses={
                **_WHOLE_GRADIENTS,
                "label_smoothing_factor": "it weighs rows by their own loss",
            },
        ),
        "ptst": Entry(
            "holdfast.finetune.ptst:PTSTTrainer",
            "holdfast.finetune.ptst:PTSTConfig",
            "PTST",
            "Keeping LLMs Aligned After Fine-tuning: The Crucial Role of Prompt Templates",
            "2402.18540",
            control="ptst with train_prompt as system_prompt",
            plan="holdfast.finetune.plans:PTSTPlan",
            organism={"system_prompt": "please"},
        ),
        "backdoor_align": Entry(
            "holdfast.finetune.backdoor_align:BackdoorAlignTrainer",
            "holdfast.finetune.backdoor_align:BackdoorAlignConfig",
            "BackdoorAlign",
            "BackdoorAlign: Mitigating Fine-tuning based Jailbreak Attack with Backdoor Enhanced "
            "Safety Alignment",
            "2402.14968",
            control='backdoor_align with trigger=""',
            plan="holdfast.finetune.plans:BackdoorAlignPlan",
            organism={"safe_rows": 300, "trigger_tokens": 4},
        ),
        "constrained_sft": Entry(
            "holdfast.finetune.constrained_sft:ConstrainedSFTTrainer",
            "holdfast.finetune.constrained_sft:ConstrainedSFTConfig",
            "constrained SFT",
            "Safety Alignment Should Be Made More Than Just a Few Tokens Deep",
            "2406.05946",
            control="constrained_sft with tokens=0",
            plan=Plan(forwards_at_start=1.0),
            organism={"beta": 0.1},
            refuses={"parallel=fsdp2": "it asks whole weights before it starts"},
        ),
        "sppft": Entry(
            "holdfast.finetune.sppft:SPPFTTrainer",
            "holdfast.finetune.sppft:SPPFTConfig",
            "SPPFT",
            "Safety Layers in Aligned Large Language Models: The Key to LLM Security",
            "2408.17003",
            control="sppft with as many layers elsewhere",
            organism={"first_layer": 2, "last_layer": 3},
            unverified="the published ranges of layers; the paper's search for them is not here",
        ),
    },
    "repair": {
        "antidote": Entry(
            "holdfast.repair.antidote:antidote",
            "holdfast.repair.antidote:AntidoteConfig",
            "Antidote",
            "Antidote: Post-fine-tuning Safety Alignment for Large Language Models against "
            "Harmful Fine-tuning",
            "2408.09600",
            control="random_mask",
            version=2,  # the ceiling of a row's share is zeroed, as the authors do; once the floor
            plan="holdfast.repair.plans:AntidotePlan",
            organism={"dense_ratio": 0.03},
        ),
        "random_mask": Entry(
            "holdfast.repair.random_mask:random_mask",
            "holdfast.repair.random_mask:RandomMaskConfig",
            "random mask",
            control_of="antidote",
            version=2,  # likewise
            plan=Plan(needs_rows=False),
            organism={"dense_ratio": 0.03},
        ),
        "resta": Entry(
            "holdfast.repair.resta:resta",
            "holdfast.repair.resta:RestaConfig",
            "RESTA",
            "Language Models are Homer Simpson! Safety Re-Alignment of Fine-tuned Language Models "
            "through Task Arithmetic",
            "2402.11746",
            control="scale",
            plan=Plan(needs_rows=False),
            organism={"gamma": 0.5},
            unverified="γ, DARE's drop rate, and whether DARE's mask is on LoRA's factors",
        ),
        "safe_delta": Entry(
            "holdfast.repair.safe_delta:safe_delta",
            "holdfast.repair.safe_delta:SafeDeltaConfig",
            "Safe Delta",
            "Safe Delta: Consistently Preserving Safety when Fine-Tuning LLMs on Diverse Datasets",
            "2505.12038",
            control="scale",
            organism={"alignment_rows": 128, "budget": 10.0},
            refuses={"quantization": "it changes single weights"},
            unverified="the paper's text, read in quotations alone; the rule is its code's",
        ),
        "safe_lora": Entry(
            "holdfast.repair.safe_lora:safe_lora",
            "holdfast.repair.safe_lora:SafeLoraConfig",
            "Safe LoRA",
            "Safe LoRA: the Silver Lining of Reducing Safety Risks when Fine-tuning Large Language "
            "Models",
            "2405.16833",
            control="scale",
            plan=Plan(needs_rows=False),
            organism={"exact": True, "threshold": 0.6},
            unverified="that the paper derives its matrix from the exact projector",
        ),
        "safe_merge": Entry(
            "holdfast.repair.safe_merge:safe_merge",
            "holdfast.repair.safe_merge:SafeMergeConfig",
            "SafeMERGE",
            "SafeMERGE: Preserving Safety Alignment in Fine-Tuned Large Language Models via "
            "Selective Layer-Wise Model Merging",
            "2503.17239",
            control="scale",
            organism={"alignment_rows": 500, "learning_rate": 1e-3, "rows_a_step": 10}
            | {"threshold": 1.0, "weight": 0.6},
            unverified="how the paper's safe adapter was trained",
        ),
        "scale": Entry(
            "holdfast.repair.scale:scale",
            "holdfast.repair.scale:ScaleConfig",
            "scaled update",
            control_of="safe_lora",
            plan=Plan(needs_rows=False),
            organism={"c": 0.7},
        ),
    },
    "evaluate": {},
}


def entry_of(kind: str, method: str) -> Entry | None:
    """A method's row; None for one from outside this package."""
    return METHODS[kind].get(method)


def named(method: str) -> Entry | None:
    """The row of a method whose stage is not said; None for one from outside this package."""
    return next((rows[method] for rows in METHODS.values() if method in rows), None)


def plan_of(kind: str, method: str) -> Plan:
    """What can be told of a method before it runs; of one from outside, as if it were plain."""
    entry = entry_of(kind, method)
    plan = Plan() if entry is None else entry.plan
    if isinstance(plan, str):
        module, name = plan.split(":")
        plan = getattr(import_module(module), name)()
    return plan
