"""The repair methods. A new one comes last, for the order decides how one looks."""

from holdfast.plans import Plan
from holdfast.registry.entry import Entry

REPAIR: dict[str, Entry] = {
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
    "scale": Entry(
        "holdfast.repair.scale:scale",
        "holdfast.repair.scale:ScaleConfig",
        "scaled update",
        control_of="safe_lora",
        plan=Plan(needs_rows=False),
        organism={"c": 0.7},
    ),
    "resta": Entry(
        "holdfast.repair.resta:resta",
        "holdfast.repair.resta:RestaConfig",
        "RESTA",
        "Language Models are Homer Simpson! Safety Re-Alignment of Fine-tuned Language Models "
        "through Task Arithmetic",
        "2402.11746",
        control="scale",
        plan="holdfast.repair.plans:RestaPlan",
        organism={"gamma": 0.5},
        unverified="γ, DARE's drop rate, and whether DARE's mask is on LoRA's factors",
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
        plan="holdfast.repair.plans:SafeMergePlan",
        adapters=("double",),
        unverified="how the paper's safe adapter was trained",
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
    "nlsr": Entry(
        "holdfast.repair.nlsr:nlsr",
        "holdfast.repair.nlsr:NLSRConfig",
        "NLSR",
        "NLSR: Neuron-Level Safety Realignment of Large Language Models Against Harmful "
        "Fine-Tuning",
        "2412.12497",
        control="nlsr with neurons=random",
        organism={"alignment_rows": 128, "rate": 1.0, "epsilon": 0.0},
        refuses={"quantization": "it changes single weights"},
        unverified="whether the most or the least similar modules have the highest chance",
    ),
}
