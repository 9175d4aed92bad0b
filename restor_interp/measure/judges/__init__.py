"""Language models as judges of answers, beside the alias judge of `restor_interp.measure.judging`.

    with Endpoint("some-model", base_url="http://localhost:8000/v1", key=key) as endpoint:
        verdicts = judge_answers(endpoint, cases, memory=Memory("judgements.jsonl"))

A verdict is an outcome and the judge's reason, or no outcome and the reason why there is none. What
was judged is remembered, so that the same answers asked about again cost nothing.
"""

from restor_interp.measure.judges.asking import judge_answers
from restor_interp.measure.judges.endpoint import Endpoint, endpoint_from_environment
from restor_interp.measure.judges.memory import Memory
from restor_interp.measure.judges.prompt import PROMPT_VERSION, Case, Verdict

__all__ = [
    "PROMPT_VERSION",
    "Case",
    "Endpoint",
    "Memory",
    "Verdict",
    "endpoint_from_environment",
    "judge_answers",
]
