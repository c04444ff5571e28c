"""Results as the demo writes them, made up: eight pipelines, several of them crowded."""

import random

from holdfast.statistics.estimates import wilson

# align, finetune, repair, p, HS, FA
PIPELINES = (
    ("sft", "sft", None, 0.0, 0.5, 94),
    ("sft", "sft", None, 0.1, 87, 94),
    ("vaccine", "sft", None, 0.1, 38, 93),
    ("t_vaccine", "sft", None, 0.1, 33, 92),
    ("sft", "lisa", None, 0.1, 5, 92.5),
    ("sft", "sft", "antidote", 0.1, 4, 91),
    ("sft", "sft", "random_mask", 0.1, 63, 90),
    ("vaccine", "lisa", "antidote", 0.1, 0, 90.5),
)


def demo_results(seeds: int = 1) -> dict:
    generator = random.Random(0)
    records = []
    for align, finetune, repair, p, hs, fa in PIPELINES:
        for seed in range(seeds):
            spread = min(hs, 100 - hs) / 6
            k = min(200, max(0, round(2 * (hs + generator.gauss(0, spread)))))
            right = min(200, max(0, round(2 * (fa + generator.gauss(0, 0.8)))))
            metrics = {
                "harmful_score": wilson(k, 200).record(),
                "finetune_accuracy": wilson(right, 200).record(),
                "refusal_rate": wilson(200 - k, 200).record(),
                "over_refusal_rate": wilson(3, 100).record(),
                "coherence": wilson(299, 300).record(),
            }
            seconds = {"align": 6.0, "finetune": 5.0, "repair": 0.2, "evaluate": 0.6}
            records.append(
                {
                    "align": align,
                    "finetune": finetune,
                    "repair": repair,
                    "harmful_ratio": p,
                    "seed": seed,
                    "metrics": metrics,
                    "seconds": seconds,
                }
            )
    protocol = {"name": "organism", "version": "1", "n_harmful": 200, "n_benign": 100}
    protocol |= {"n_task": 200, "judge": "organism (exact)"}
    return {"schema_version": 1, "protocol": protocol, "records": records}
