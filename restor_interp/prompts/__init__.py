"""Fact -> Prompt: the few-shot examples, the question, and where the subject stands.

`prompt` says what a prompt is, `contexts` builds them, `templates` words their questions otherwise,
`reverse` asks for the entity of an object, `substitutes` puts other names in the subject's place.
"""

from restor_interp.prompts.contexts import STYLES, build_prompt, build_prompts
from restor_interp.prompts.prompt import Prompt
from restor_interp.prompts.reverse import reverse_answers, reverse_object, reverse_prompts
from restor_interp.prompts.substitutes import substitutes, with_substitute
from restor_interp.prompts.templates import rephrased, rephrasings, template_name

__all__ = [
    "STYLES",
    "Prompt",
    "build_prompt",
    "build_prompts",
    "rephrased",
    "rephrasings",
    "reverse_answers",
    "reverse_object",
    "reverse_prompts",
    "substitutes",
    "template_name",
    "with_substitute",
]
