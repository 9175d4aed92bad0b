"""Many answers, judged some at a time; the same one is never asked about twice."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from restor_interp.errors import RestorError
from restor_interp.measure.judges.endpoint import Endpoint
from restor_interp.measure.judges.memory import Memory
from restor_interp.measure.judges.prompt import Case, Verdict

PATIENCE = 10
"""Questions in a row on which the server stays silent, after which it is taken to be gone."""


def judge_answers(
    endpoint: Endpoint,
    cases: Sequence[Case],
    *,
    memory: Memory | None = None,
    judge: str | None = None,
    on_done: Callable[[int, int], None] | None = None,
) -> list[Verdict]:
    """One verdict per case, in the order of the cases, whatever order the replies come in.

    `judge` names the endpoint in `memory` (default: its model). `on_done(done, total)` counts
    distinct cases. A case on which no verdict could be had has one without an outcome; raises
    `RestorError` where the endpoint has stopped answering (`PATIENCE` times in a row, or to every
    question), with what came before in `memory`.
    """
    name = judge if judge is not None else endpoint.model
    known = {case: memory.get(name, case) if memory else None for case in cases}
    found: dict[Case, Verdict] = {case: one for case, one in known.items() if one is not None}
    todo = [case for case in known if case not in found]
    lock, gone = threading.Lock(), threading.Event()
    silent_in_a_row, heard = 0, False

    def ask(case: Case) -> None:
        nonlocal silent_in_a_row, heard
        if gone.is_set():
            return
        reply = endpoint.ask(case)
        if memory is not None:
            memory.add(name, case, reply.verdict)
        with lock:
            found[case] = reply.verdict
            silent_in_a_row = silent_in_a_row + 1 if reply.silent else 0
            heard = heard or not reply.silent
            if silent_in_a_row >= PATIENCE:
                gone.set()
            if on_done is not None:
                on_done(len(found), len(known))

    with ThreadPoolExecutor(max_workers=endpoint.at_once) as pool:
        try:
            for one in [pool.submit(ask, case) for case in todo]:
                one.result()
        except BaseException:
            gone.set()
            pool.shutdown(cancel_futures=True)
            raise
    if gone.is_set() or (todo and not heard):
        last = next(found[case].reason for case in reversed(todo) if case in found)
        raise RestorError(
            f"the judge {endpoint.model!r} at {endpoint.url} has stopped answering ({last}). What "
            "it judged before is kept: give the same command again when it is back"
        )
    return [found[case] for case in cases]
