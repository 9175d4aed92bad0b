"""Capture: what a state holds inside while it reads many prompts, documents or texts, streamed to
disk.

Only hooks are used and nothing is merged, so it works on any state, and in the middle of training
while an adapter is attached. `passages` are texts that ask nothing, `rows` says which tokens are
run for each prompt and where they are read, `shared` runs tokens that many prompts begin with
once, `sites` says what is read there, `capturing` does it.
"""

from restor_interp.measure.capture.capturing import capture, object_vectors
from restor_interp.measure.capture.passages import Passage, mention_passages

__all__ = ["Passage", "capture", "mention_passages", "object_vectors"]
