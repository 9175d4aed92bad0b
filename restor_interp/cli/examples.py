"""An example or more of every command, shown below its `--help`."""

from collections.abc import Mapping

EXAMPLES: Mapping[str, tuple[str, ...]] = {
    "run": (
        "restor-interp run demo --out runs/demo",
        "restor-interp run demo seed=1 data.k=1 --out runs/demo-k1",
        "restor-interp run demo --fast --out runs/demo-fast",
        "restor-interp run bios --dry-run --out runs/bios",
        "restor-interp run bios --seeds 3 --rotations 3 --out runs/bios-design",
    ),
    "sweep": (
        "restor-interp sweep bios --method npo --try learning_rate=5e-4,1e-3,2e-3 --out runs/s",
        "restor-interp sweep bios --method npo --method ga --try learning_rate=1e-4:1e-2 "
        "--random 8",
    ),
    "plan": (
        "restor-interp plan demo --out runs/demo",
        "restor-interp plan bios --seeds 3 --rotations 3 --out runs/bios-design",
    ),
    "status": ("restor-interp status --out runs/demo",),
    "report": (
        "restor-interp report --out runs/demo",
        "restor-interp report --out runs/demo --definition reports/my_report.py",
        "restor-interp report --out runs/demo --entity China --page china.html",
    ),
    "compare": (
        "restor-interp compare runs/demo runs/demo-k1",
        "restor-interp compare runs/demo --methods npo,grad_diff --out npo-or-grad_diff.html",
    ),
    "verify": (
        "restor-interp verify runs/demo",
        "restor-interp verify runs/demo --deep",
    ),
    "trace": (
        'restor-interp trace "They say that the Eiffel Tower is located in the city of" '
        '--subject "Eiffel Tower"',
        'restor-interp trace "The capital of France is" --subject France --against Rome '
        "--kind resid --kind mlp --out france.html",
        'restor-interp trace "The capital of France is" --subject France --substitute Italy --json',
    ),
    "probe": ("restor-interp probe probes/my_probe.py --run runs/demo",),
    "new": (
        "restor-interp new probe my_probe",
        "restor-interp new method my_method",
    ),
    "list": ("restor-interp list", "restor-interp list methods --json"),
    "doctor": ("restor-interp doctor", "restor-interp doctor --json"),
    "data list": ("restor-interp data list",),
    "data check": ("restor-interp data check my_facts.jsonl",),
    "data show": ("restor-interp data show atlas --entity France",),
    "model list": ("restor-interp model list",),
    "model get": ("restor-interp model get smollm2-135m",),
}


def epilog(command: str) -> str:
    """The examples of a command as its epilog; an empty line keeps each on a line of its own."""
    return "\n\n".join(f"Example: {line}" for line in EXAMPLES[command])
