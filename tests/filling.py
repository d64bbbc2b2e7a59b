"""A runner that has a method's model annotate the rows before it lays the annotations out."""

from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

from crowdselect_core.annotate.factory import kind_of
from crowdselect_core.config.select import SelectConfig
from crowdselect_core.generate.call_tracker import CallTracker
from crowdselect_core.reward.factory import Resources
from crowdselect_core.stages.base import InProcess, Stage
from crowdselect_core.stages.methods.annotations import ANNOTATIONS, annotate
from crowdselect_core.stages.refs import Ref
from crowdselect_core.store.artifacts import Store


@dataclass
class Filling:
    """Runs the stages in this process, as the tasks do; `calls` are those of every annotation."""

    store: Store
    calls: list[CallTracker] = field(default_factory=list)

    def __call__(self, stage: Stage[Any], config: SelectConfig, *inputs: Any, **named: Any) -> Ref:
        if stage is ANNOTATIONS:
            with closing(kind_of(config).open(config, Resources(str))) as annotator:
                self.calls.append(
                    annotate(config, self.store, *inputs[:3], annotator, lambda calls: None)
                )
        return InProcess(self.store)(stage, config, *inputs, **named)
