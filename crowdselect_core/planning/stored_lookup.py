"""What of a live crowd is in the store already, found without reading data or asking anybody."""

from crowdselect_core.config.crowd import CrowdModel
from crowdselect_core.config.reward import RewardConfig
from crowdselect_core.config.select import SelectConfig
from crowdselect_core.planning.missing_work import MissingWork, without_missing
from crowdselect_core.stages.crowd.answer_texts import Answered
from crowdselect_core.stages.crowd.dataset_responses import DATASET_RESPONSES
from crowdselect_core.stages.crowd.prompts import PROMPTS
from crowdselect_core.stages.crowd.responses import RESPONSES
from crowdselect_core.stages.crowd.rewards import REWARDS, is_pairwise
from crowdselect_core.stages.crowd.zoo import ZOO, Member, Scored
from crowdselect_core.stages.heldout.split import expected, expected_heldout
from crowdselect_core.stages.refs import Ref
from crowdselect_core.stages.select.instructions import INSTRUCTIONS
from crowdselect_core.store.artifacts import Store


class StoredLookup:
    """Looks up the answers and scores of a config by their names.

    Args:
        config: whole, with the models that are to be asked.
        missing: what has to be made.
        store: where it would be.
        heldout: whether those of the held-out rows are looked up, instead of the others'.
    """

    def __init__(
        self, config: SelectConfig, missing: MissingWork, store: Store, *, heldout: bool = False
    ) -> None:
        self._config = without_missing(config, missing)
        i = INSTRUCTIONS.spec(self._config)
        of = expected_heldout if heldout else expected
        rows = of(self._config, Ref(stage=i.stage, key=i.key, rows=0))
        p = PROMPTS.spec(self._config, rows)
        self._prompts = Ref(stage=p.stage, key=p.key, rows=0)
        self._crowd, self._store = config.everyone, store
        self._asked, self._rewards = {m.name for m in missing.answers}, missing.scores

    @property
    def prompts(self) -> Ref:
        """The prompts of the config, whether they are in the store or not."""
        return self._prompts

    def stored_answers(self, model: CrowdModel) -> Answered | None:
        """Return a model's answers, None where they are not all there."""
        if model.name in self._asked:
            spec = RESPONSES.spec(self._config, self._prompts, model)
        else:
            spec = DATASET_RESPONSES.spec(self._config, self._prompts, model.name)
        found = self._store.find(spec)
        if found is None:
            return None
        return Answered(model, Ref.of(found))

    def reference(self, reward: RewardConfig) -> Answered | None:
        """Return the answers that a pairwise judge holds the others against, if they are there."""
        wanted = getattr(reward, "reference_model", None)
        named = next((m for m in self._crowd if m.name == wanted), None)
        return self.stored_answers(named) if named is not None else None

    def is_scored(self, reward: RewardConfig) -> bool:
        """Tell whether a reward model's scores of the whole crowd are there."""
        reference = self.reference(reward)
        if is_pairwise(reward) and reference is None:
            return False
        for model in self._crowd:
            answered = self.stored_answers(model)
            if answered is None:
                return False
            wanted = REWARDS.spec(self._config, reward, answered, reference)
            if self._store.find(wanted) is None:
                return False
        return True

    def zoo(self) -> Ref | None:
        """Return the answers and scores of the whole crowd as one zoo, None where it is not there.

        A zoo of a run in which calls failed has a key of its own and is not found so.
        """
        members = []
        for model in self._crowd:
            answered = self.stored_answers(model)
            scored = [self._scored(r, answered) for r in self._rewards] if answered else [None]
            if answered is None or None in scored:
                return None
            by_name = sorted((s for s in scored if s), key=lambda s: s.reward)
            members.append(Member(answered, tuple(by_name)))
        found = self._store.find(ZOO.spec(self._config, self._prompts, members, None))
        return Ref.of(found) if found is not None else None

    def _scored(self, reward: RewardConfig, answered: Answered) -> Scored | None:
        """Return a reward model's scores of some answers, None where they are not all there."""
        reference = self.reference(reward)
        if is_pairwise(reward) and reference is None:
            return None
        found = self._store.find(REWARDS.spec(self._config, reward, answered, reference))
        if found is None:
            return None
        ref = Ref.of(found)
        return Scored(reward.name, tuple(ref.facts["heads"]), ref)
