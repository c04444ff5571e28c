"""Stage 1, alignment: one file a method."""

METHODS = {
    "sft": ("holdfast.training:SFTTrainer", "holdfast.training:SFTConfig"),
    "vaccine": ("holdfast.align.vaccine:VaccineTrainer", "holdfast.align.vaccine:VaccineConfig"),
    "t_vaccine": (
        "holdfast.align.t_vaccine:TVaccineTrainer",
        "holdfast.align.t_vaccine:TVaccineConfig",
    ),
    "random_perturbation": (
        "holdfast.align.random_perturbation:RandomPerturbationTrainer",
        "holdfast.align.random_perturbation:RandomPerturbationConfig",
    ),
}
