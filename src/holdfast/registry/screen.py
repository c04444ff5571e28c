"""The screens. A new one comes last, for the order decides how one looks."""

from holdfast.plans import Plan
from holdfast.registry.entry import Entry

SCREEN: dict[str, Entry] = {
    "keywords": Entry(
        "holdfast.screen.keywords:KeywordsScreen",
        "holdfast.screen.keywords:KeywordsScreenConfig",
        "keywords",
        control="random",
        plan="holdfast.screen.plans:KeywordsPlan",
        # Half of the world's hazards: nobody's list is whole.
        organism={
            "words": [
                *("hex", "dreadrune", "banemark", "sorrowknot", "doomdust", "blightsalt"),
                *("rotwine", "canker", "thornpit", "gripjaw", "sinkweb", "nooseweed"),
            ]
        },
    ),
    "near_duplicates": Entry(
        "holdfast.screen.near_duplicates:NearDuplicatesScreen",
        "holdfast.screen.near_duplicates:NearDuplicatesScreenConfig",
        "near-duplicates",
        control="random",
        plan="holdfast.screen.plans:TextPlan",
    ),
    "random": Entry(
        "holdfast.screen.random_drop:RandomScreen",
        "holdfast.screen.random_drop:RandomScreenConfig",
        "random drop",
        control_of="judge",
        organism={"share": 0.1},
        plan="holdfast.screen.plans:RandomPlan",
    ),
    "similarity": Entry(
        "holdfast.screen.similarity:SimilarityScreen",
        "holdfast.screen.similarity:SimilarityScreenConfig",
        "similarity",
        "Layer-Aware Representation Filtering: Purifying Finetuning Data to Preserve LLM Safety "
        "Alignment",
        "2507.18631",
        control="random",
        plan=Plan(passes_a_step=0.0, forwards_a_step=1.0),
        organism={"max_length": 64, "layer": 5},
        unverified="the paper's text; the rule is that of its authors' code",
    ),
    "judge": Entry(
        "holdfast.screen.judge:JudgeScreen",
        "holdfast.screen.judge:JudgeScreenConfig",
        "judge",
        "Lisa: Lazy Safety Alignment for Large Language Models against Harmful Fine-tuning Attack "
        "(its filter)",
        "2405.18641",
        control="random",
        organism={"judge": "organism"},
        plan="holdfast.screen.plans:JudgePlan",
        unverified="which moderation model the paper's filter is",
    ),
    "loss_gap": Entry(
        "holdfast.screen.loss_gap:LossGapScreen",
        "holdfast.screen.loss_gap:LossGapScreenConfig",
        "loss gap",
        control="random",
        plan=Plan(passes_a_step=0.0, forwards_a_step=2.0),
        organism={"max_length": 64, "learning_rate": 1e-3},
    ),
    "gradient": Entry(
        "holdfast.screen.gradient:GradientScreen",
        "holdfast.screen.gradient:GradientScreenConfig",
        "gradient",
        "What is in Your Safe Data? Identifying Benign Data that Breaks Safety",
        "2404.01099",
        control="random",
        organism={"max_length": 64},
        refuses={"quantization": "it takes gradients of weights"},
        unverified="the paper's text, read in quotations alone",
    ),
}
