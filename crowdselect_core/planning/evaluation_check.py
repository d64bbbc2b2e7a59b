"""What an evaluation pays for, looked at before it does: the bill, and who will be asked."""

from collections.abc import Sequence
from contextlib import closing

from crowdselect_core.evaluate import engine_check, forecast
from crowdselect_core.evaluate.benchmarks.lm_eval import LmEval
from crowdselect_core.evaluate.candidates import Candidate, expected
from crowdselect_core.evaluate.judging.judge import judge_engine
from crowdselect_core.evaluate.live import Benchmark, Tools
from crowdselect_core.generate.factory import check_all
from crowdselect_core.planning.evaluation_forecast import drawn_prompts, evaluation_bills


def check_bills(benchmarks: Sequence[Benchmark], models: Sequence[Candidate], tools: Tools) -> None:
    """Refuse a bill that is too high; look whether the models and judges of it are there.

    Args:
        benchmarks: of the evaluation.
        models: those that are known.
        tools: of the run.

    Raises:
        ConfigError: the bill is above evaluation.max_cost, or a key is not there.
        UserError: a model or a judge that has to be asked cannot be.
    """
    config, evaluation = tools.config, tools.evaluation
    bills = evaluation_bills(benchmarks, models, tools, drawn_prompts(config))
    forecast.refuse_above(bills, evaluation.max_cost)
    asked = [
        judge
        for judge in evaluation.judges
        if any(b.requests and b.judge == judge.name for b in bills)
    ]
    answering = {b.name for b in bills if b.what == "answers" and b.requests}
    whole = expected(config, models)
    answering.update(
        name for b in benchmarks if isinstance(b, LmEval) for name in b.asked(whole, tools)
    )
    found = engine_check.engines(whole, answering, tools)
    judges = {f"judge {judge.name}": judge_engine(judge, tools.secret) for judge in asked}
    check_all({f"model {name}": engine for name, engine in found.items()} | judges)
    grades = {b.grades for b in bills if b.grades is not None and b.requests}
    for grader in engine_check.graders(benchmarks, grades, tools).values():
        with closing(grader):
            grader.check()
