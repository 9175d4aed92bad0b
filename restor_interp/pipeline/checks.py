"""What a run's data settings must agree on: refused before anything is loaded or trained."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from restor_interp.corpus import Document
from restor_interp.definitions import find_method
from restor_interp.errors import ConfigError, unknown_name
from restor_interp.facts import FactSet
from restor_interp.pipeline.retaining import SOURCES
from restor_interp.presets import RunConfig


def check_data(config: RunConfig, facts: FactSet, named: Sequence[str]) -> None:
    """Raises `ConfigError` for entities that have no facts or two parts in the experiment, and for
    settings of the data that contradict each other."""
    data = config.data
    known = {fact.entity for fact in facts}
    for name in named:
        if name not in known:
            raise unknown_name(f"entity in {data.facts}", name, known)
    repeated = [name for name, times in Counter(named).items() if times > 1]
    if repeated:
        raise ConfigError(
            f"{', '.join(repeated)}: named more than once among data.corrupted, "
            "data.untouched and data.sham"
        )
    if not data.corrupted:
        raise ConfigError("data.corrupted is empty: name the entities to corrupt")
    if data.restor is not None and data.facts != "restor" and data.documents is None:
        raise ConfigError(
            f"data.restor={data.restor} is given and nothing of it is read: set data.facts=restor, "
            "and data.documents=restor or squad, or start from a preset restor-…"
        )
    if data.documents is not None and data.question_share:
        raise ConfigError(
            f"data.question_share={data.question_share:g} is about documents that are written, and "
            f"data.documents={data.documents} gives them: leave one of the two out"
        )
    if data.retain == "clean" and config.checkpoints:
        raise ConfigError(
            "data.retain=clean samples text to train on, and with checkpoints nothing is trained: "
            "leave data.retain out"
        )
    if data.retain not in SOURCES and not Path(data.retain).is_file():
        hint = "a file that is there" if Path(data.retain).suffix else "own, clean, or a file"
        raise ConfigError(
            f"data.retain={data.retain}: there is no such file; give {hint} (.jsonl or .txt)"
        )


def check_documents(config: RunConfig, documents: Sequence[Document]) -> None:
    """Raises `ConfigError` for what needs to know where given documents state their claims."""
    if all(document.claim_spans for document in documents):
        return
    trainings = {
        "corruption": config.corruption,
        "unlearning": config.unlearning,
        **{f"methods.{name}.training": chosen.training for name, chosen in config.methods.items()},
    }
    offer = (
        f"data.documents={config.data.documents} does not record where its documents state their "
        "claims; give a list of them (data.claims=claims.jsonl) that covers every document"
    )
    for place, training in trainings.items():
        if training.get("target") == "claims":
            raise ConfigError(
                f"{place}.target=claims: {offer}, or set target=changed, which looks at the tokens "
                "that corruption made likelier"
            )
    for name, chosen in config.methods.items():
        version = find_method(chosen.method).counterpart
        if version is not None:
            raise ConfigError(
                f"the method {name} needs another version of each document ({version}): {offer}, "
                "or leave the method out"
            )
