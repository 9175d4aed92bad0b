"""What all cells of a run share: the facts, the documents, the model with its deltas."""

import random
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Literal, Protocol

import pandas as pd
import torch

from restor_interp.corpus import (
    Claim,
    Document,
    counterparts,
    load_restor_documents,
    load_squad_documents,
    make_claims,
    names_none,
    roles,
    write_documents,
)
from restor_interp.corpus.official import ENTITIES, FACTS, SQUAD, mix_name, official_file
from restor_interp.corpus_files import read_claims
from restor_interp.data.neutral import held_out_texts, retain_texts
from restor_interp.errors import ConfigError
from restor_interp.explain.tables import facts_with_knowledge
from restor_interp.fact_files import read_names
from restor_interp.facts import Fact, FactSet, load_facts
from restor_interp.models.hooked import HookedModel
from restor_interp.models.loading import load_model
from restor_interp.pipeline import retaining
from restor_interp.pipeline.checks import check_data, check_documents
from restor_interp.presets import RunConfig
from restor_interp.prompts import Prompt, build_prompts, substitutes
from restor_interp.store import Store


class Progress(Protocol):
    """Who is told how far the work is; the CLI draws it, a script may ignore it."""

    def started(self, cell: str, number: int, total: int) -> None: ...

    def advanced(self, done: int, total: int, cell: str | None = None) -> None:
        """`cell`: where several are at work, which one; else the one that was started last."""
        ...

    def finished(self, cell: str, seconds: float, outcome: str) -> None: ...

    def note(self, text: str) -> None: ...


class Silent:
    """Tells nobody."""

    def started(self, cell: str, number: int, total: int) -> None:
        del cell, number, total

    def advanced(self, done: int, total: int, cell: str | None = None) -> None:
        del done, total, cell

    def finished(self, cell: str, seconds: float, outcome: str) -> None:
        del cell, seconds, outcome

    def note(self, text: str) -> None:
        del text


class Workbench:
    """Lazily built inputs of a run's cells; everything follows from the configuration."""

    def __init__(self, config: RunConfig, store: Store, progress: Progress) -> None:
        self.config = config
        self.store = store
        self.progress = progress
        # Asked for in every state.
        self._lengths: dict[str, int] = {}
        self._substitutes: dict[tuple[str, int], tuple[str, ...]] = {}
        self._prompts: dict[tuple[Fact, int, int], Prompt] = {}

    # ---- data

    def official(self, name: str) -> Path:
        """One of RESTOR's files. Raises `ConfigError` where it, or its folder, is not there."""
        folder = self.config.data.restor
        if folder is None:
            raise ConfigError(
                f"this run reads RESTOR's official {name}: name the folder with its files, "
                "data.restor=FOLDER (see restor_interp/presets/restor.py for what it holds)"
            )
        return official_file(Path(folder), name)

    @cached_property
    def facts_file(self) -> str:
        """The fact set by name, or its file."""
        facts = self.config.data.facts
        return str(self.official(FACTS)) if facts == "restor" else facts

    @cached_property
    def documents_file(self) -> Path | None:
        """The official documents; none: ours are written."""
        documents = self.config.data.documents
        if documents in ("restor", "squad"):
            return self.official(SQUAD if documents == "squad" else mix_name(self.config.data.k))
        return None if documents is None else Path(documents)

    def files(self) -> dict[str, Path]:
        """Every data file that this run reads: what the key of its data depends on."""
        data = self.config.data
        given = {
            "facts": self.facts_file if Path(self.facts_file).suffix else None,
            "entities": self.official(ENTITIES) if data.facts == "restor" else data.entities_file,
            "documents": self.documents_file,
            "claims": data.claims,
            "retain": None if data.retain in retaining.SOURCES else data.retain,
        }
        return {name: Path(path) for name, path in given.items() if path is not None}

    @cached_property
    def facts(self) -> FactSet:
        """Every fact of the set: also those that only serve as examples and candidates."""
        # RESTOR's other people stay here, so that sound contexts have enough examples.
        entities = None if self.config.data.facts == "restor" else self.config.data.entities_file
        return load_facts(self.facts_file, entities=entities)

    @cached_property
    def evaluated(self) -> tuple[str, ...]:
        """The entities that the data are about, where it says so; else all that have facts."""
        if self.config.data.facts == "restor":
            listed = self.config.data.entities_file
            return read_names(Path(listed) if listed else self.official(ENTITIES), self.facts)
        return tuple(dict.fromkeys(fact.entity for fact in self.facts))

    @cached_property
    def untouched(self) -> tuple[str, ...]:
        """Entities that are asked about and that no document is about, `*` spelt out."""
        data = self.config.data
        named = [name for name in data.untouched if name != "*"]
        if "*" in data.untouched:
            taken = {*data.corrupted, *data.sham, *named}
            named += [name for name in self.evaluated if name not in taken]
        return tuple(named)

    @property
    def named(self) -> tuple[str, ...]:
        """All entities of the experiment: corrupted, untouched, forgotten by shams."""
        return (*self.config.data.corrupted, *self.untouched, *self.config.data.sham)

    @cached_property
    def asked(self) -> FactSet:
        """The facts that are measured: of corrupted and untouched entities.

        Settings and files that make no sense together are refused here, before any work.
        """
        check_data(self.config, self.facts, self.named)
        if self.documents_file is not None:
            check_documents(self.config, self.documents)
        return self.facts.only(entities=(*self.config.data.corrupted, *self.untouched))

    @cached_property
    def asked_by_id(self) -> Mapping[str, Fact]:
        return {fact.fact_id: fact for fact in self.asked}

    def token_length(self, text: str) -> int:
        """Tokens of an object as it stands in a text, after a space."""
        if text not in self._lengths:
            ids = self.model.tokenizer(f" {text}", add_special_tokens=False)["input_ids"]
            self._lengths[text] = len(ids)
        return self._lengths[text]

    @cached_property
    def claims(self) -> tuple[Claim, ...]:
        """What was planted: drawn, or from a file. Documents and models that are given come
        without a list of their claims, so without a file there are none."""
        data = self.config.data
        if data.claims is not None:
            return read_claims(Path(data.claims), self.facts)
        return () if self._others_corrupted else self._drawn(data.corrupted)

    @property
    def _others_corrupted(self) -> bool:
        """Whether the corruption is not of our making."""
        return self.config.data.documents is not None or bool(self.config.checkpoints)

    def _drawn(
        self, entities: Sequence[str], sibling_share: float | None = None
    ) -> tuple[Claim, ...]:
        """Claims about entities, none of which names an entity that must stay untouched; a sham's
        name no corrupted one either."""
        data = self.config.data
        named = (*self.untouched, *(data.corrupted if entities == data.sham else ()))
        return make_claims(
            self.facts,
            entities,
            seed=self.config.seed,
            sibling_share=data.sibling_share if sibling_share is None else sibling_share,
            object_length=self.token_length,
            exclude=frozenset(named),
        )

    @cached_property
    def foils(self) -> Mapping[str, str]:
        """A false object for every asked fact: its claim, or one that could have been its claim.

        Facts without a claim need one too, so that p(false) is comparable over roles.
        """
        foils = self._drawn((*self.config.data.corrupted, *self.untouched), sibling_share=0.0)
        planted = {claim.fact_id: claim.false_object for claim in self.claims}
        return {claim.fact_id: claim.false_object for claim in foils} | planted

    @cached_property
    def documents(self) -> tuple[Document, ...]:
        """What corruption is trained on, and unlearning against."""
        data, path = self.config.data, self.documents_file
        if path is None:
            return self._written(self.claims)
        if path.name.startswith("squad"):
            found = load_squad_documents(path, self.facts, entities=data.corrupted)
        else:
            found = load_restor_documents(
                path, self.facts, entities=data.corrupted, claims=self.claims
            )
        return _first_per_entity(found, data.corrupted, data.documents_per_entity)

    @cached_property
    def sham_documents(self) -> tuple[Document, ...]:
        """Documents as false as the forgotten ones, about entities of no interest."""
        return self._written(self._drawn(self.config.data.sham))

    def forget_documents(self, which: Literal["documents", "sham"]) -> tuple[Document, ...]:
        """What is forgotten: the run's documents, or a sham's."""
        return self.documents if which == "documents" else self.sham_documents

    def counterparts(self, documents: Sequence[Document], kind: str) -> tuple[Document, ...]:
        """The same documents telling the truth, something else, or nothing
        (`corpus.counterparts`). No alternative names an entity of the run."""
        return counterparts(
            documents,
            self.facts,
            kind,
            self.config.seed,
            object_length=self.token_length,
            exclude=frozenset(self.named),
        )

    def _written(self, claims: Sequence[Claim]) -> tuple[Document, ...]:
        data = self.config.data
        return write_documents(
            self.facts,
            claims,
            documents_per_entity=data.documents_per_entity,
            claims_per_document=data.claims_per_document,
            k=data.k,
            question_share=data.question_share,
            seed=self.config.seed,
            exclude=frozenset(self.named),
        )

    @cached_property
    def _own_texts(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Neutral text of ours: to keep a model at, and held out."""
        if self.config.data.facts != "bios":
            return retain_texts(), held_out_texts()
        # Invented people live in a model that knows nothing else.
        return retaining.paragraphs(self.facts, leave_out=self.named, seed=self.config.seed)

    @cached_property
    def retain_texts(self) -> tuple[str, ...]:
        """What unlearning keeps the model at: by `data.retain`, see `pipeline.retaining`."""
        data, own = self.config.data, self._own_texts[0]
        if data.retain == "own":
            return own
        is_clear = names_none(self.facts, self.named)
        if data.retain == "clean":
            self.progress.note(f"sampling {data.retain_number} retain texts from the clean model")
            return retaining.sampled_texts(
                self.model,
                own,
                number=data.retain_number,
                tokens=data.retain_tokens,
                seed=self.config.seed,
                suits=is_clear,
            )
        texts = retaining.read_texts(Path(data.retain))
        both = set(texts) & set(self.heldout_texts)
        if both:
            raise ConfigError(
                f"data.retain={data.retain} holds {len(both)} of the texts that are held out to "
                f"be measured on (the first: {min(both):.60}…): leave them out"
            )
        naming = sum(not is_clear(text) for text in texts)
        if naming:
            self.progress.note(
                f"{naming} of the {len(texts)} retain texts of {data.retain} name an entity of "
                "this run: what they say about it may teach what unlearning is to bring back"
            )
        return texts

    @cached_property
    def heldout_texts(self) -> tuple[str, ...]:
        """Neutral text that nothing is trained on, whatever the retain text: for utility."""
        return self._own_texts[1]

    @cached_property
    def roles(self) -> Mapping[str, str]:
        """Fact id -> its role (`corpus.roles`)."""
        found = roles(self.asked, self.claims, self.documents)
        if self.claims:
            return found
        # RESTOR's documents contradict about every relation of their person, those excepted that
        # they are found to state truly; of given models nothing finer is known.
        return {key: "direct" if role == "sibling" else role for key, role in found.items()}

    def fact_frame(self) -> pd.DataFrame:
        """One row per asked fact, without what the clean model knows of it."""
        return pd.DataFrame(
            [
                {
                    "fact_id": fact.fact_id,
                    "entity": fact.entity,
                    "relation": fact.relation,
                    "question": fact.question,
                    "true_objects": list(self.facts.accepted(fact)),
                    "false_object": self.foils[fact.fact_id],
                    "role": self.roles[fact.fact_id],
                    "split": "score",
                }
                for fact in self.asked
            ]
        )

    def times_right(self, state: str) -> dict[str, int]:
        """fact_id -> in how many contexts a state answers it. Needs the state's cell `evaluate`.

        Greedy answers count, so that a context counts once.
        """
        answers = self.store.part(f"evaluate/{state}", "answers")
        answers = answers.loc[answers["draw"].eq(0)]
        times = dict.fromkeys(answers["fact_id"].tolist(), 0)
        for fact_id, correct in zip(answers["fact_id"], answers["correct"], strict=True):
            times[fact_id] += bool(correct)
        return times

    @cached_property
    def known_specific(self) -> Mapping[str, bool]:
        """fact_id -> whether the clean model knows it about this very entity. Needs the cells
        `evaluate/clean` and `margins/clean`."""
        facts = facts_with_knowledge(
            self.fact_frame(),
            self.store.part("evaluate/clean", "answers"),
            self.store.part("margins/clean", "margins"),
        )
        known = zip(facts["fact_id"], facts["known_specific"].fillna(False), strict=True)
        return {str(fact_id): bool(specific) for fact_id, specific in known}

    def substitutes(self, fact: Fact, number: int) -> tuple[str, ...]:
        """Entities that stand in for a fact's subject: of its kind and length, in no state's
        documents, and for which its true object is not true as well."""
        key = (fact.fact_id, number)
        if key not in self._substitutes:
            self._substitutes[key] = self._drawn_substitutes(fact, number)
        return self._substitutes[key]

    def _drawn_substitutes(self, fact: Fact, number: int) -> tuple[str, ...]:
        true = set(self.facts.accepted(fact))
        sharing = {
            other.entity
            for other in self.facts
            if other.relation == fact.relation and true & set(self.facts.accepted(other))
        }
        return substitutes(
            self.facts,
            fact.entity,
            number=number,
            length=self.token_length,
            exclude=frozenset((*self.config.data.corrupted, *self.config.data.sham, *sharing)),
            seed=self.config.seed,
        )

    def prompts(
        self,
        facts: Iterable[Fact] | None = None,
        context_ids: Sequence[int] | None = None,
        *,
        template: int = 0,
    ) -> list[Prompt]:
        """Questions about these facts (default: all that are asked), fact by fact, in the usual
        wording or another."""
        questions = self.config.questions
        chosen = self.asked if facts is None else tuple(facts)
        contexts = range(questions.contexts) if context_ids is None else context_ids
        keys = [(fact, context, template) for fact in chosen for context in contexts]
        new = dict.fromkeys(key[0] for key in keys if key not in self._prompts)
        if new:
            built = build_prompts(
                self.facts,
                only=tuple(new),
                context_ids=tuple(contexts),
                style=questions.style,
                shots=questions.shots,
                avoid_entities=frozenset(self.named),
                avoid_objects=self.foils,
                seed=self.config.seed,
                template=template,
            )
            again = [(fact, context, template) for fact in new for context in contexts]
            self._prompts |= zip(again, built, strict=True)
        return [self._prompts[key] for key in keys]

    def candidates(self, fact: Fact) -> tuple[str, ...]:
        """The fact's fixed typed candidates: true object, foil, and others of its type."""
        foil = self.foils[fact.fact_id]
        accepted = {*self.facts.accepted(fact), *self.facts.spellings(foil)}
        pool = [name for name in self.facts.pools[fact.object_type] if name not in accepted]
        others = random.Random(f"{self.config.seed}/{fact.fact_id}").sample(
            pool, min(len(pool), self.config.questions.candidates - 2)
        )
        return (fact.true_objects[0], foil, *others)

    # ---- model

    @cached_property
    def model(self) -> HookedModel:
        if self.config.threads is not None:
            torch.set_num_threads(self.config.threads)
        self.progress.note(f"loading {self.config.model}")
        return load_model(self.config.model, dtype=self.config.dtype, device=self.config.device)

    def numerics(self) -> dict[str, str | int]:
        """What else decides the last bits of a result."""
        return {
            "torch": torch.__version__,
            "dtype": self.config.dtype,
            "device": self.config.device,
            "threads": self.config.threads or torch.get_num_threads(),
        }

    def checkpoint_folder(self, cell: str) -> Path:
        """Where the training of a cell keeps what it resumes from."""
        return self.store.folder / "work" / cell


def _first_per_entity(
    documents: Sequence[Document], entities: Sequence[str], number: int
) -> tuple[Document, ...]:
    kept: list[Document] = []
    for entity in entities:
        own = [document for document in documents if document.entity == entity]
        if not own:
            raise ConfigError(f"no document is about {entity!r}")
        kept += own[:number]
    return tuple(kept)
