"""Stage 2, user fine-tuning: one file a method."""

METHODS = {
    "sft": ("holdfast.training:SFTTrainer", "holdfast.training:SFTConfig"),
    "lisa": ("holdfast.finetune.lisa:LisaTrainer", "holdfast.finetune.lisa:LisaConfig"),
}
