"""Readers: who asks a model something step by step, and the loop that serves all of them.

A reader is a generator. It yields what it wants to read after some token paths, is sent the
readings, and returns its result when it has enough. Greedy answers, objects' scores and margins
are three readers. Their steps are served together: a batch holds the next tokens of many answers
beside the prompts of the next questions, and never runs almost empty.
"""

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from restor_interp.measure.prefixes import Ask, Reading, TokenPath, engine_for
from restor_interp.models.hooked import HookedModel

Result = TypeVar("Result")
Reader = Generator[list[Ask], list[Reading], Result]

TOKENS_PER_BATCH_ON_CPU = 192
"""Enough for efficient matrix products; with more, tokens that see little of each other share a
batch, and attention grows with its square."""
TOKENS_PER_BATCH = 2048
"""On any other device."""


@dataclass
class _Desk(Generic[Result]):
    """A reader at work: what it asks now, and every path that it may still continue."""

    index: int
    reader: Reader[Result]
    asks: list[Ask]
    paths: list[TokenPath]


def read(
    model: HookedModel,
    readers: Sequence[Reader[Result]],
    *,
    longest: int,
    max_tokens_per_batch: int | None = None,
) -> list[Result]:
    """Serve readers until all have returned; their results, in their order.

    `longest`: tokens of the longest path that any reader may ask for. Paths that begin with the
    same tokens are run together, whatever the order of the readers.
    """
    results: dict[int, Result] = {}
    waiting: list[_Desk[Result]] = []
    for index, reader in enumerate(readers):
        try:
            asks = next(reader)
        except StopIteration as finished:
            results[index] = finished.value
            continue
        waiting.append(_Desk(index, reader, asks, [ask.path for ask in asks]))
    if not waiting:
        return [results[index] for index in range(len(readers))]
    # In this order, what the next reader does not share is shared by no later one.
    waiting.sort(key=lambda desk: desk.asks[0].path, reverse=True)
    on_cpu = model.device.type == "cpu"
    budget = max_tokens_per_batch or (TOKENS_PER_BATCH_ON_CPU if on_cpu else TOKENS_PER_BATCH)
    sample = max((desk.asks[0].path for desk in waiting), key=len)
    repeats = -(-longest // len(sample))
    engine = engine_for(model, (sample * repeats)[:longest], max_tokens=budget)

    working: list[_Desk[Result]] = []
    while waiting or working:
        cost = sum(engine.cost(ask.path for ask in desk.asks) for desk in working)
        beside: TokenPath = ()
        while waiting:
            paths = [ask.path for ask in waiting[-1].asks]
            more = engine.cost(paths, beside=beside)
            if working and cost + more > budget:
                break
            working.append(waiting.pop())
            cost += more
            beside = paths[0]
        readings = iter(engine.run([ask for desk in working for ask in desk.asks]))
        still_working = []
        for desk in working:
            answer = [next(readings) for _ in desk.asks]
            try:
                desk.asks = desk.reader.send(answer)
            except StopIteration as finished:
                results[desk.index] = finished.value
            else:
                desk.paths += [ask.path for ask in desk.asks]
                still_working.append(desk)
        working = still_working
        needed = [path for desk in working for path in desk.paths]
        engine.keep([*needed, *(waiting[-1].paths[:1] if waiting else ())])
    return [results[index] for index in range(len(readers))]
