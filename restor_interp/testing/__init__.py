"""For tests, ours and those of other people's definitions: tiny models, and trying out a method."""

from restor_interp.testing.methods import check_method
from restor_interp.testing.models import FAMILIES, WORDS, tiny_model, tiny_tokenizer

__all__ = ["FAMILIES", "WORDS", "check_method", "tiny_model", "tiny_tokenizer"]
