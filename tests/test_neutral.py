"""Neutral text: enough of it, no text twice, and no word about anything that is evaluated.

Run: python -m pytest tests/test_neutral.py
"""

import json
import re
from pathlib import Path

import pytest

from restor_interp.data.neutral import held_out_texts, repair_texts, retain_texts
from restor_interp.facts import BUILT_IN, load_facts

RESTOR = Path(__file__).parents[2] / "shared" / "data" / "restor"

ALL = (*retain_texts(), *held_out_texts(), *(example.text for example in repair_texts()))


def sentences(text):
    return re.split(r"(?<=[.?!]) ", text)


def test_there_is_enough():
    assert len(retain_texts()) >= 120
    assert len(held_out_texts()) >= 30
    assert len(repair_texts()) >= 60


def test_passages_are_of_even_length():
    for text in (*retain_texts(), *held_out_texts()):
        assert 30 <= len(text.split()) <= 60, text
        assert len(sentences(text)) >= 2, text


def test_no_sentence_stands_twice():
    found = [sentence for text in ALL for sentence in sentences(text) if len(sentence.split()) > 3]
    assert len(found) == len(set(found))


def test_held_out_passages_share_no_phrase_with_retained_ones():
    def phrases(texts, length=6):
        split = [re.findall(r"\w+", text.lower()) for text in texts]
        return {
            tuple(words[i : i + length]) for words in split for i in range(len(words) - length + 1)
        }

    assert not phrases(retain_texts()) & phrases(held_out_texts())


def test_sentences_begin_with_a_capital_and_end():
    for text in (*retain_texts(), *held_out_texts()):
        for sentence in sentences(text):
            assert re.fullmatch(r"[A-Z].*[.?!]", sentence), text


def test_nothing_is_named():
    # English writes names with a capital: none stands inside a sentence.
    for text in (*retain_texts(), *held_out_texts()):
        for sentence in sentences(text):
            assert not re.search(r"[ (-][A-Z]", sentence), text
    for example in repair_texts():
        for sentence in (example.question, *sentences(example.answer)):
            # "I" is the only word that may be big inside a sentence
            assert not re.search(r" (?!I )[A-Z]", sentence), example.text


def entities_of(facts):
    return {name for entity in facts.entities.values() for name in (entity.name, *entity.aliases)}


def named_objects(facts):
    """Objects that are proper names, in every spelling."""
    objects = {name for fact in facts for name in facts.accepted(fact)}
    objects |= {
        spelling
        for pool in facts.pools.values()
        for name in pool
        for spelling in facts.spellings(name)
    }
    return {name for name in objects if name[:1].isupper()}


def found_in(texts, names, flags=0):
    longest_first = sorted(names, key=len, reverse=True)
    pattern = "|".join(rf"(?<!\w){re.escape(name)}(?!\w)" for name in longest_first)
    return {found.group() for text in texts for found in re.finditer(pattern, text, flags)}


@pytest.mark.parametrize("name", BUILT_IN)
def test_no_evaluated_entity_or_named_object_is_mentioned(name):
    facts = load_facts(name)
    assert len(entities_of(facts)) > 80
    # Entities such as elements or companies are common words too: not even these stand here.
    assert found_in(ALL, entities_of(facts), re.IGNORECASE) == set()
    assert found_in(ALL, named_objects(facts)) == set()


def test_no_evaluated_person_of_restor_is_mentioned():
    if not RESTOR.is_dir():
        pytest.skip("RESTOR's official data is not beside this checkout")
    people = json.loads((RESTOR / "facts.json").read_text())["dset"]
    assert found_in(ALL, set(people)) == set()


def test_the_search_for_names_finds_them():
    facts, text = load_facts("bios"), "Somebody met Alba Delmonte in Galdor."
    assert found_in([text.lower()], entities_of(facts), re.IGNORECASE) == {"alba delmonte"}
    assert found_in([text], named_objects(facts)) == {"Galdor"}


def test_questions_and_answers():
    for example in repair_texts():
        assert re.fullmatch(r"[A-Z][^?]*\?", example.question)
        assert example.answer[:1].isupper()
        assert example.text == f"{example.question} {example.answer}"
        assert "\n" not in example.text
    questions = [example.question for example in repair_texts()]
    assert len(questions) == len(set(questions))
    lengths = [len(example.answer.split()) for example in repair_texts()]
    assert sum(length <= 5 for length in lengths) >= 40
    assert sum(length >= 12 for length in lengths) >= 10
