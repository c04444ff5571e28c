"""An attacker who knows the defense and trains otherwise than it foresaw.

The rows are those of ``mixed``. The training is longer, with another optimizer, another order of
the rows and an adapter of another rank, all of which a service lets its users choose. Source: Qi,
Wei et al., 2412.07097, where published defenses fail under another seed, schedule or optimizer;
2605.14605 of adaptive attackers.
"""

from holdfast.attacks.mixed import rows

__all__ = ["rows"]
