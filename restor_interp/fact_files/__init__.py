"""Facts in files: a user's own facts (`jsonl`), tables of others (`columns`), and RESTOR's official
data (`restor`).

All are read whole and checked before anything is made of them; problems are collected and
reported together as `file:line: problem`.
"""

from restor_interp.fact_files.columns import load_columns
from restor_interp.fact_files.jsonl import read_jsonl, to_jsonl, write_jsonl
from restor_interp.fact_files.restor import read_names, read_restor

__all__ = ["load_columns", "read_jsonl", "read_names", "read_restor", "to_jsonl", "write_jsonl"]
