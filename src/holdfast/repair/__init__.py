"""Stage 3, repair after fine-tuning: one file a method."""

METHODS = {
    "antidote": ("holdfast.repair.antidote:antidote", "holdfast.repair.antidote:AntidoteConfig"),
    "random_mask": (
        "holdfast.repair.random_mask:random_mask",
        "holdfast.repair.random_mask:RandomMaskConfig",
    ),
}
