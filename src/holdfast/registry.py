"""Every method by its stage and name: where its code and settings are. A new one has a row here.

Nothing is imported: a command that only names methods starts at once.
"""

# By stage and name: "module:Trainer", or of a repair "module:function", and "module:Config".
METHODS: dict[str, dict[str, tuple[str, str]]] = {
    "align": {
        "sft": ("holdfast.training:SFTTrainer", "holdfast.training:SFTConfig"),
        "vaccine": (
            "holdfast.align.vaccine:VaccineTrainer",
            "holdfast.align.vaccine:VaccineConfig",
        ),
        "t_vaccine": (
            "holdfast.align.t_vaccine:TVaccineTrainer",
            "holdfast.align.t_vaccine:TVaccineConfig",
        ),
        "random_perturbation": (
            "holdfast.align.random_perturbation:RandomPerturbationTrainer",
            "holdfast.align.random_perturbation:RandomPerturbationConfig",
        ),
    },
    "finetune": {
        "sft": ("holdfast.training:SFTTrainer", "holdfast.training:SFTConfig"),
        "lisa": ("holdfast.finetune.lisa:LisaTrainer", "holdfast.finetune.lisa:LisaConfig"),
    },
    "repair": {
        "antidote": (
            "holdfast.repair.antidote:antidote",
            "holdfast.repair.antidote:AntidoteConfig",
        ),
        "random_mask": (
            "holdfast.repair.random_mask:random_mask",
            "holdfast.repair.random_mask:RandomMaskConfig",
        ),
    },
    "evaluate": {},
}
