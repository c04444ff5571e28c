"""What a stage and a pipeline are, and what several pipelines share."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from holdfast.models.stack import ORGANISM, Stack
from holdfast.stages.folders import STAGES
from holdfast.stages.methods import short_name
from holdfast.stages.settings import KINDS, METHOD_KINDS


@dataclass(frozen=True, eq=False)
class Stage:
    """One stage with everything that decides it.

    Args:
        kind: "align", "screen", "finetune", "repair" or "evaluate".
        settings: its resolved settings; ``model`` counts only where there is no parent.
        identity: the hash of all that decides its result.
        parent: the stage whose model it starts from; None if ``settings`` name one.
        reference: for an evaluation the stage whose model is the aligned one.
        stack: the base of its model; above the first stage its adapters are the parents' to know.
        version: of its method's code, where that is not this package's own.
        template: what its chat template's rendering depends on, such as a date; see
            `holdfast.models.templates.template_marks`.
        inputs: what its identity says of what it reads: of models, rows and judges, by their role.
        screened: for a fine-tuning the stage that has screened its rows.
    """

    kind: str
    settings: Mapping[str, Any]
    identity: str
    parent: "Stage | None" = None
    reference: "Stage | None" = None
    stack: Stack = Stack(ORGANISM)  # noqa: RUF009 (frozen)
    version: str = ""
    template: Mapping[str, str] = field(default_factory=dict)
    inputs: Mapping[str, str] = field(default_factory=dict)
    screened: "Stage | None" = None

    @property
    def name(self) -> str:
        """A readable name for its folder: kind, method or task, the identity's beginning."""
        method = self.settings.get("method")
        what = short_name(method) if method else self.settings.get("task")
        return "-".join(filter(None, (self.kind, what, self.identity[:12])))

    @property
    def needs(self) -> "list[Stage]":
        """The stages that must be there before it runs."""
        return [one for one in (self.parent, self.reference, self.screened) if one is not None]

    def lineage(self) -> "list[Stage]":
        """The stages that it needs, first to last, and itself."""
        return [*(self.parent.lineage() if self.parent else []), self]


@dataclass(frozen=True)
class Pipeline:
    """One row of a comparison: align, screen, fine-tune, repair, evaluate; any may miss but the
    last.

    Args:
        variant: what tells it from another pipeline of the same methods, such as a setting.
        stages: its stages by kind.
        coords: its place in a study's grid: "variant", and the value of every axis that it has.
        tries: how many settings were tried before its own were chosen; None where nobody counts.
    """

    variant: str
    stages: Mapping[str, Stage] = field(default_factory=dict)
    coords: Mapping[str, Any] = field(default_factory=dict)
    tries: int | None = None

    @property
    def evaluation(self) -> Stage:
        """Its last stage."""
        return self.stages["evaluate"]

    def methods(self) -> tuple[Any, ...]:
        """Its methods and harmful ratio, by which tables tell pipelines apart."""
        settings = [self.stages[kind].settings for kind in METHOD_KINDS if kind in self.stages]
        return tuple((own["method"], own.get("harmful_ratio")) for own in settings)


def all_stages(pipelines: Iterable[Pipeline]) -> list[Stage]:
    """Every stage of the pipelines once, parents first."""
    found: dict[str, Stage] = {}
    for pipeline in pipelines:
        for stage in pipeline.stages.values():
            found.setdefault(stage.identity, stage)
    return sorted(found.values(), key=lambda stage: KINDS.index(stage.kind))


def stage_folder(root: Path, stage: Stage) -> Path:
    """Where a stage's result lies."""
    return root / STAGES / stage.name
