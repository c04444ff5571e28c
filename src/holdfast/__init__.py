"""holdfast keeps a language model's safety alignment through fine-tuning.

Published defenses against harmful fine-tuning, and the baselines they are compared with, on one
footing: align, fine-tune, repair, evaluate, in any combination.
"""

import logging
from importlib import import_module
from typing import TYPE_CHECKING, Any

from holdfast.errors import UserError

if TYPE_CHECKING:
    from holdfast.align.booster import BoosterConfig, BoosterTrainer
    from holdfast.align.circuit_breakers import CircuitBreakersConfig, CircuitBreakersTrainer
    from holdfast.align.ctrap import CTRAPConfig, CTRAPTrainer
    from holdfast.align.deep_alignment import DeepAlignmentConfig, DeepAlignmentTrainer
    from holdfast.align.lox import LoxConfig, LoxTrainer
    from holdfast.align.random_perturbation import (
        RandomPerturbationConfig,
        RandomPerturbationTrainer,
    )
    from holdfast.align.repnoise import RepNoiseConfig, RepNoiseTrainer
    from holdfast.align.t_vaccine import TVaccineConfig, TVaccineTrainer
    from holdfast.align.tar import TARConfig, TARTrainer
    from holdfast.align.vaa import VAAConfig, VAATrainer
    from holdfast.align.vaccine import VaccineConfig, VaccineMixin, VaccineTrainer
    from holdfast.finetune.asft import AsFTConfig, AsFTTrainer
    from holdfast.finetune.backdoor_align import BackdoorAlignConfig, BackdoorAlignTrainer
    from holdfast.finetune.bds import BDSConfig, BDSTrainer
    from holdfast.finetune.constrained_sft import ConstrainedSFTConfig, ConstrainedSFTTrainer
    from holdfast.finetune.ewc import EWCConfig, EWCTrainer
    from holdfast.finetune.kl import KLConfig, KLTrainer
    from holdfast.finetune.l2_sp import L2SPConfig, L2SPTrainer
    from holdfast.finetune.ldifs import LDIFSConfig, LDIFSTrainer
    from holdfast.finetune.lisa import LisaConfig, LisaMixin, LisaSettings, LisaTrainer
    from holdfast.finetune.lookahead import LookAheadConfig, LookAheadTrainer
    from holdfast.finetune.panacea import PanaceaConfig, PanaceaTrainer
    from holdfast.finetune.ptst import PTSTConfig, PTSTTrainer
    from holdfast.finetune.safe_mix import SafeMixConfig, SafeMixTrainer
    from holdfast.finetune.safegrad import SafeGradConfig, SafeGradTrainer
    from holdfast.finetune.seal import SEALConfig, SEALTrainer
    from holdfast.finetune.sppft import SPPFTConfig, SPPFTTrainer
    from holdfast.finetune.surgery import SurgeryConfig, SurgeryTrainer
    from holdfast.finetune.vlguard import VLGuardConfig, VLGuardTrainer
    from holdfast.gate.callback import SafetyGate
    from holdfast.gate.check import check
    from holdfast.repair.antidote import AntidoteConfig, antidote
    from holdfast.repair.checkpoints import Checkpoints
    from holdfast.repair.nlsr import NLSRConfig, nlsr
    from holdfast.repair.random_mask import RandomMaskConfig, random_mask
    from holdfast.repair.resta import RestaConfig, resta
    from holdfast.repair.safe_delta import SafeDeltaConfig, safe_delta
    from holdfast.repair.safe_lora import SafeLoraConfig, safe_lora
    from holdfast.repair.safe_merge import SafeMergeConfig, safe_merge
    from holdfast.repair.scale import ScaleConfig, scale
    from holdfast.screen.base import Scored, ScreenConfig
    from holdfast.stages.screening.in_memory import Screened, screen_rows
    from holdfast.training import SFTConfig, SFTTrainer

__version__ = "0.1.0"

# PEFT imports bitsandbytes where it is installed, which on processors with AVX512-BF16 then says at
# every start that it lacks a kernel. No model here uses that kernel (holdfast.models.four_bits).
logging.getLogger("bitsandbytes.backends.cpu.ops").addFilter(
    lambda record: "gemm_4bit_forward" not in record.getMessage()
)

# Where each public name lives. Loaded when first used: torch and transformers take seconds.
_HOMES = {
    "holdfast.screen.base": (
        "Scored",
        "ScreenConfig",
    ),
    "holdfast.stages.screening.in_memory": (
        "Screened",
        "screen_rows",
    ),
    "holdfast.training": (
        "SFTConfig",
        "SFTTrainer",
    ),
    "holdfast.align.booster": (
        "BoosterConfig",
        "BoosterTrainer",
    ),
    "holdfast.align.circuit_breakers": (
        "CircuitBreakersConfig",
        "CircuitBreakersTrainer",
    ),
    "holdfast.align.ctrap": (
        "CTRAPConfig",
        "CTRAPTrainer",
    ),
    "holdfast.align.deep_alignment": (
        "DeepAlignmentConfig",
        "DeepAlignmentTrainer",
    ),
    "holdfast.align.lox": (
        "LoxConfig",
        "LoxTrainer",
    ),
    "holdfast.align.random_perturbation": (
        "RandomPerturbationConfig",
        "RandomPerturbationTrainer",
    ),
    "holdfast.align.repnoise": (
        "RepNoiseConfig",
        "RepNoiseTrainer",
    ),
    "holdfast.align.t_vaccine": (
        "TVaccineConfig",
        "TVaccineTrainer",
    ),
    "holdfast.align.tar": (
        "TARConfig",
        "TARTrainer",
    ),
    "holdfast.align.vaa": (
        "VAAConfig",
        "VAATrainer",
    ),
    "holdfast.align.vaccine": (
        "VaccineConfig",
        "VaccineMixin",
        "VaccineTrainer",
    ),
    "holdfast.finetune.asft": (
        "AsFTConfig",
        "AsFTTrainer",
    ),
    "holdfast.finetune.backdoor_align": (
        "BackdoorAlignConfig",
        "BackdoorAlignTrainer",
    ),
    "holdfast.finetune.bds": (
        "BDSConfig",
        "BDSTrainer",
    ),
    "holdfast.finetune.constrained_sft": (
        "ConstrainedSFTConfig",
        "ConstrainedSFTTrainer",
    ),
    "holdfast.finetune.ewc": (
        "EWCConfig",
        "EWCTrainer",
    ),
    "holdfast.finetune.kl": (
        "KLConfig",
        "KLTrainer",
    ),
    "holdfast.finetune.l2_sp": (
        "L2SPConfig",
        "L2SPTrainer",
    ),
    "holdfast.finetune.ldifs": (
        "LDIFSConfig",
        "LDIFSTrainer",
    ),
    "holdfast.finetune.lisa": (
        "LisaConfig",
        "LisaMixin",
        "LisaSettings",
        "LisaTrainer",
    ),
    "holdfast.finetune.lookahead": (
        "LookAheadConfig",
        "LookAheadTrainer",
    ),
    "holdfast.finetune.panacea": (
        "PanaceaConfig",
        "PanaceaTrainer",
    ),
    "holdfast.finetune.ptst": (
        "PTSTConfig",
        "PTSTTrainer",
    ),
    "holdfast.finetune.safe_mix": (
        "SafeMixConfig",
        "SafeMixTrainer",
    ),
    "holdfast.finetune.safegrad": (
        "SafeGradConfig",
        "SafeGradTrainer",
    ),
    "holdfast.finetune.seal": (
        "SEALConfig",
        "SEALTrainer",
    ),
    "holdfast.finetune.sppft": (
        "SPPFTConfig",
        "SPPFTTrainer",
    ),
    "holdfast.finetune.surgery": (
        "SurgeryConfig",
        "SurgeryTrainer",
    ),
    "holdfast.finetune.vlguard": (
        "VLGuardConfig",
        "VLGuardTrainer",
    ),
    "holdfast.gate.callback": ("SafetyGate",),
    "holdfast.gate.check": ("check",),
    "holdfast.repair.antidote": (
        "AntidoteConfig",
        "antidote",
    ),
    "holdfast.repair.checkpoints": ("Checkpoints",),
    "holdfast.repair.nlsr": (
        "NLSRConfig",
        "nlsr",
    ),
    "holdfast.repair.random_mask": (
        "RandomMaskConfig",
        "random_mask",
    ),
    "holdfast.repair.resta": (
        "RestaConfig",
        "resta",
    ),
    "holdfast.repair.safe_delta": (
        "SafeDeltaConfig",
        "safe_delta",
    ),
    "holdfast.repair.safe_lora": (
        "SafeLoraConfig",
        "safe_lora",
    ),
    "holdfast.repair.safe_merge": (
        "SafeMergeConfig",
        "safe_merge",
    ),
    "holdfast.repair.scale": (
        "ScaleConfig",
        "scale",
    ),
}

__all__ = [
    "AntidoteConfig",
    "AsFTConfig",
    "AsFTTrainer",
    "BDSConfig",
    "BDSTrainer",
    "BackdoorAlignConfig",
    "BackdoorAlignTrainer",
    "BoosterConfig",
    "BoosterTrainer",
    "CTRAPConfig",
    "CTRAPTrainer",
    "Checkpoints",
    "CircuitBreakersConfig",
    "CircuitBreakersTrainer",
    "ConstrainedSFTConfig",
    "ConstrainedSFTTrainer",
    "DeepAlignmentConfig",
    "DeepAlignmentTrainer",
    "EWCConfig",
    "EWCTrainer",
    "KLConfig",
    "KLTrainer",
    "L2SPConfig",
    "L2SPTrainer",
    "LDIFSConfig",
    "LDIFSTrainer",
    "LisaConfig",
    "LisaMixin",
    "LisaSettings",
    "LisaTrainer",
    "LookAheadConfig",
    "LookAheadTrainer",
    "LoxConfig",
    "LoxTrainer",
    "NLSRConfig",
    "PTSTConfig",
    "PTSTTrainer",
    "PanaceaConfig",
    "PanaceaTrainer",
    "RandomMaskConfig",
    "RandomPerturbationConfig",
    "RandomPerturbationTrainer",
    "RepNoiseConfig",
    "RepNoiseTrainer",
    "RestaConfig",
    "SEALConfig",
    "SEALTrainer",
    "SFTConfig",
    "SFTTrainer",
    "SPPFTConfig",
    "SPPFTTrainer",
    "SafeDeltaConfig",
    "SafeGradConfig",
    "SafeGradTrainer",
    "SafeLoraConfig",
    "SafeMergeConfig",
    "SafeMixConfig",
    "SafeMixTrainer",
    "SafetyGate",
    "ScaleConfig",
    "Scored",
    "ScreenConfig",
    "Screened",
    "SurgeryConfig",
    "SurgeryTrainer",
    "TARConfig",
    "TARTrainer",
    "TVaccineConfig",
    "TVaccineTrainer",
    "UserError",
    "VAAConfig",
    "VAATrainer",
    "VLGuardConfig",
    "VLGuardTrainer",
    "VaccineConfig",
    "VaccineMixin",
    "VaccineTrainer",
    "antidote",
    "check",
    "nlsr",
    "random_mask",
    "resta",
    "safe_delta",
    "safe_lora",
    "safe_merge",
    "scale",
    "screen_rows",
]


def __getattr__(name: str) -> Any:
    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(home), name)
    raise AttributeError(f"module 'holdfast' has no attribute {name!r}")
