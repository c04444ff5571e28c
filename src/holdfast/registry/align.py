"""The alignment methods. A new one comes last, for the order decides how one looks."""

from holdfast.plans import Plan
from holdfast.registry.entry import SFT, WHOLE_GRADIENTS, Entry

ALIGN: dict[str, Entry] = {
    "sft": SFT,
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
    "random_perturbation": Entry(
        "holdfast.align.random_perturbation:RandomPerturbationTrainer",
        "holdfast.align.random_perturbation:RandomPerturbationConfig",
        "random perturbation",
        control_of="vaccine",
        version=2,  # padding gets no noise; a row's noise is its own
        organism={"rho": 22.0},
    ),
    "booster": Entry(
        "holdfast.align.booster:BoosterTrainer",
        "holdfast.align.booster:BoosterConfig",
        "Booster",
        "Booster: Tackling Harmful Fine-tuning for Large Language Models via Attenuating "
        "Harmful Perturbation",
        "2409.01586",
        plan=Plan(passes_a_step=3, copies=3),
        refuses=WHOLE_GRADIENTS,
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
        refuses=WHOLE_GRADIENTS,
        unverified="learning rate (1e-5 or 2e-5); α and β are searched for every model",
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
        refuses=WHOLE_GRADIENTS,
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
        refuses=WHOLE_GRADIENTS,
        unverified="λ, α, the token, and the rows that the collapse is taken on",
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
        refuses=WHOLE_GRADIENTS,
        unverified="learning rate 1e-4, LoRA r 16 and α 16; the authors' code",
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
    "deep_alignment": Entry(
        "holdfast.align.deep_alignment:DeepAlignmentTrainer",
        "holdfast.align.deep_alignment:DeepAlignmentConfig",
        "deep alignment",
        "Safety Alignment Should Be Made More Than Just a Few Tokens Deep",
        "2406.05946",
        control="deep_alignment with augmented=0 (SFT)",
        organism={"harmful_rows": 500},
    ),
}
