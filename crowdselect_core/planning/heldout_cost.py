"""The bill beforehand of the answers to the held-out prompts, where a live crowd gives them."""

from crowdselect_core.config.evaluate import EvaluateConfig
from crowdselect_core.config.heldout import BEST
from crowdselect_core.evaluate.forecast import Bill
from crowdselect_core.planning.generation_cost import answer_bill
from crowdselect_core.planning.missing_work import find_missing
from crowdselect_core.planning.scoring_cost import score_bill
from crowdselect_core.store.artifacts import Store


def heldout_bills(config: EvaluateConfig) -> list[Bill]:
    """Forecast the answers that `heldout.answers` names, and the scores by which `best` is known.

    Nothing where no benchmark takes such answers, or the data set has them.

    Args:
        config: resolved.

    Raises:
        UserError: the data set cannot be read.
    """
    if not config.needs_heldout_answers or config.heldout is None:
        return []
    missing, store, wanted = find_missing(config), Store(config.store), config.heldout.answers
    bills: list[Bill] = []
    for model in missing.answers:
        if wanted in (model.name, BEST):
            made = answer_bill(config, missing, store, model, heldout=True)
            bills.append(Bill(
                "answers", f"{model.name} to the held-out prompts", made.requests, made.cached,
                made.prompt_tokens, made.completion_tokens, made.completion_by, made.price,
                hours=made.hours, told=f"to the held-out prompts, {made.line}",
            ))  # fmt: skip
    for reward in missing.scores if wanted == BEST else ():
        scored = score_bill(config, missing, store, reward, heldout=True)
        bills.append(Bill(
            "scores", f"{reward.name} on the held-out answers", scored.requests, scored.cached,
            scored.prompt_tokens, scored.completion_tokens, "at most: max_tokens each",
            scored.price, hours=scored.hours, told=f"of the held-out answers, {scored.line}",
        ))  # fmt: skip
    return bills
