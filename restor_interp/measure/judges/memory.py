"""What a judge said before, in a file of one JSON line per verdict.

Lines are only ever added, each by one write, so that a kill loses at most the line it interrupts;
a line that cannot be read is passed over, and its answer judged again.
"""

import hashlib
import json
import os
import threading
from pathlib import Path

from restor_interp.disk import storage_errors
from restor_interp.measure.judges.prompt import OUTCOMES, PROMPT_VERSION, Case, Verdict


class Memory:
    """Verdicts by what determines them; may be asked from several threads at once."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._lock = threading.Lock()
        self._verdicts: dict[str, Verdict] = {}
        text = self.path.read_text(encoding="utf-8", errors="replace") if self._exists() else ""
        self._torn = bool(text) and not text.endswith("\n")
        for line in text.splitlines():
            self._read(line)

    def _exists(self) -> bool:
        return self.path.is_file()

    def get(self, judge: str, case: Case) -> Verdict | None:
        """What `judge` (a model and its address) said of this case, if it did."""
        return self._verdicts.get(key_of(judge, case))

    def add(self, judge: str, case: Case, verdict: Verdict) -> None:
        """Keep a verdict. One without an outcome is not kept: it may come out better next time."""
        if verdict.outcome is None:
            return
        key = key_of(judge, case)
        entry = {
            "key": key,
            "outcome": verdict.outcome,
            "reason": verdict.reason,
            "question": case.question,
            "answer": case.answer,
        }
        line = json.dumps(entry, ensure_ascii=True) + "\n"
        with self._lock, storage_errors(self.path.parent):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("ab") as stream:
                stream.write(("\n" if self._torn else "").encode() + line.encode())
                stream.flush()
                os.fsync(stream.fileno())
            self._torn = False
            self._verdicts[key] = verdict

    def _read(self, line: str) -> None:
        try:
            entry = json.loads(line)
            key, outcome, reason = entry["key"], entry["outcome"], entry["reason"]
        except (ValueError, LookupError, TypeError):
            return
        if outcome in OUTCOMES and isinstance(key, str) and isinstance(reason, str):
            self._verdicts[key] = Verdict(outcome=outcome, reason=reason)


def key_of(judge: str, case: Case) -> str:
    """Hash of the prompt's version, the judge and the case, 24 hex characters."""
    return hashlib.sha256(f"{PROMPT_VERSION}\n{judge}\n{case.as_json()}".encode()).hexdigest()[:24]
