"""What the tests of instruments on the embedded model share."""

import pytest

import restor_interp as ri


@pytest.fixture(scope="module")
def real():
    from restor_interp.models.loading import load_model, model_status

    if not {row.name: row.present for row in model_status()}["smollm2-135m"]:
        pytest.skip("smollm2-135m is not in the cache: restor-interp model get smollm2-135m")
    return load_model("smollm2-135m")


@pytest.fixture
def capital():
    prefix = "Question: What is the capital of Italy? Answer: Rome\n"
    question = "Question: What is the capital of France? Answer:"
    start = len(prefix) + question.index("France")
    return ri.Prompt(
        prefix=prefix, question=question, subject="France", subject_span=(start, start + 6)
    )
