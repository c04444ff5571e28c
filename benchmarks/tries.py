"""The settings that `search_organism.py` tries on the organism: four of each method.

Beside a method's other settings in its row of the registry. The values were laid out before the
search, around what one or two other seeds had shown to be neither nothing nor too much. Booster and
circuit breakers were laid out again: of their first four (λ from 5 to 50; α from 1 to 10) none left
an aligned model.
"""

from typing import Any

TRIES: dict[str, list[dict[str, Any]]] = {
    "vaccine": [{"rho": rho} for rho in (15.0, 22.0, 30.0, 45.0)],
    "t_vaccine": [
        {"rho": 30.0, "layers": 3},
        {"rho": 15.0, "layers": 4},
        {"rho": 30.0, "layers": 4},
        {"rho": 15.0, "layers": 5},
    ],
    "vaa": [
        {"rho": 0.4, "trial_learning_rate": 1e-3},
        {"rho": 1.0, "trial_learning_rate": 1e-3},
        {"rho": 1.5, "trial_learning_rate": 1e-3},
        {"rho": 2.0, "trial_learning_rate": 1e-3},
    ],
    "booster": [
        {"lam": 0.05, "alpha": 0.1},
        {"lam": 0.3, "alpha": 0.1},
        {"lam": 1.0, "alpha": 0.01},
        {"lam": 5.0, "alpha": 0.1},
    ],
    "repnoise": [
        {"alpha": 0.03, "beta": 0.03},
        {"alpha": 0.1, "beta": 0.03},
        {"alpha": 0.03, "beta": 0.1},
        {"alpha": 0.1, "beta": 0.1},
    ],
    "tar": [
        {"lam": 0.03, "attack_steps": 4},
        {"lam": 0.1, "attack_steps": 4},
        {"lam": 0.3, "attack_steps": 4},
        {"lam": 0.1, "attack_steps": 8},
    ],
    "ctrap": [{"lam": lam} for lam in (0.003, 0.01, 0.03, 0.1)],
    "circuit_breakers": [
        {"alpha": 0.003, "gamma": 1.0},
        {"alpha": 0.01, "gamma": 1.0},
        {"alpha": 0.03, "gamma": 1.0},
        {"alpha": 10.0, "gamma": 0.0},
    ],
    "lox": [
        {"coefficient": 0.25, "directions": 6},
        {"coefficient": 0.5, "directions": 6},
        {"coefficient": 1.25, "directions": 6},
        {"coefficient": 0.5, "directions": 12},
    ],
    "deep_alignment": [
        {"augmented": 0.2},
        {"augmented": 0.5},
        {"augmented": 0.8},
        {"augmented": 0.5, "deepest": 3},
    ],
    "lisa": [
        {"rho": 0.1, "alignment_steps": 5, "user_steps": 20},
        {"rho": 0.3, "alignment_steps": 5, "user_steps": 20},
        {"rho": 1.0, "alignment_steps": 5, "user_steps": 20},
        {"rho": 0.03, "alignment_steps": 10, "user_steps": 20},
    ],
    "safe_mix": [{"share": share} for share in (0.1, 0.3, 0.5, 1.0)],
    "vlguard": [{"lam": lam} for lam in (0.3, 1.0, 3.0, 10.0)],
    "ewc": [{"strength": strength} for strength in (500.0, 1000.0, 2000.0, 5000.0)],
    "l2_sp": [{"strength": strength} for strength in (0.001, 0.003, 0.01, 0.03)],
    "kl": [{"strength": strength} for strength in (0.5, 1.0, 2.0, 4.0)],
    "ldifs": [{"rho": rho} for rho in (0.001, 0.003, 0.01, 0.03)],
    "constrained_sft": [{"beta": beta} for beta in (0.03, 0.1, 0.3, 1.0)],
    "panacea": [
        {"rho": 0.1, "lam": 0.01},
        {"rho": 0.3, "lam": 0.01},
        {"rho": 0.5, "lam": 0.01},
        {"rho": 0.3, "lam": 0.001},
    ],
    "safegrad": [{"rho": rho} for rho in (0.1, 0.3, 1.0, 3.0)],
    "lookahead": [
        {"form": "virtual"},
        {"form": "real", "tokens": 1},
        {"form": "real", "tokens": 3},
        {"form": "real", "tokens": 6},
    ],
    "ptst": [
        {"system_prompt": prompt}
        for prompt in ("please", "take care.", "please take care.", "please say:")
    ],
    "backdoor_align": [
        {"safe_rows": 100, "trigger_tokens": 4},
        {"safe_rows": 300, "trigger_tokens": 2},
        {"safe_rows": 300, "trigger_tokens": 4},
        {"safe_rows": 300, "trigger_tokens": 8},
    ],
    "sppft": [
        {"first_layer": 1, "last_layer": 2},
        {"first_layer": 2, "last_layer": 3},
        {"first_layer": 3, "last_layer": 4},
        {"first_layer": 2, "last_layer": 5},
    ],
    "bds": [
        {"lam": 1.0, "selector_rate": 0.005},
        {"lam": 1.0, "selector_rate": 0.05},
        {"lam": 1.0, "selector_rate": 0.5},
        {"lam": 3.0, "selector_rate": 0.05},
    ],
    "surgery": [{"alpha": alpha} for alpha in (10.0, 30.0, 100.0, 300.0)],
    "seal": [
        {"choosing_epochs": 3.0, "selector_rate": 0.005},
        {"choosing_epochs": 3.0, "selector_rate": 0.05},
        {"choosing_epochs": 1.0, "selector_rate": 0.005},
        {"choosing_epochs": 3.0, "selector_rate": 0.005, "share": 0.7},
    ],
    "asft": [
        {"lam": 0.01},
        {"lam": 0.03},
        {"lam": 0.0625},
        {"lam": 0.3, "exact": True},
    ],
    "antidote": [{"dense_ratio": ratio} for ratio in (0.01, 0.03, 0.05, 0.07)],
    "safe_lora": [{"threshold": threshold} for threshold in (0.4, 0.5, 0.6, 0.7)],
    "scale": [{"c": c} for c in (0.5, 0.6, 0.7, 0.8)],
    "resta": [
        {"gamma": 0.25},
        {"gamma": 0.5},
        {"gamma": 0.75},
        {"gamma": 0.5, "drop_rate": 0.3},
    ],
    "safe_merge": [
        {"weight": 0.6},
        {"weight": 0.7},
        {"weight": 0.8},
        {"weight": 0.6, "threshold": 0.7},
    ],
    "safe_delta": [{"budget": budget} for budget in (1.0, 3.0, 10.0, 30.0)],
    "nlsr": [
        {"rate": 0.5, "epsilon": 0.2, "share": 0.2},
        {"rate": 0.8, "epsilon": 0.2, "share": 0.2},
        {"rate": 1.0, "epsilon": 0.0, "share": 0.2},
        {"rate": 1.0, "epsilon": 0.0, "share": 0.1},
    ],
}
