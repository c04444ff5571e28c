"""holdfast keeps a language model's safety alignment through fine-tuning."""
