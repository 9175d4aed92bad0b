"""Commands about fact sets and models."""

from pathlib import Path
from typing import Annotated

import typer

from restor_interp.cli.examples import epilog
from restor_interp.cli.shown import AsJson, say, show

data_app = typer.Typer(no_args_is_help=True, help="Fact sets: list, check, show.")
model_app = typer.Typer(no_args_is_help=True, help="Models: list, get.")


@data_app.command("list", epilog=epilog("data list"))
def data_list(as_json: AsJson = False) -> None:
    """The built-in fact sets."""
    from restor_interp.cli.inventory import inventory

    show(inventory("facts"), as_json)


@data_app.command("check", epilog=epilog("data check"))
def data_check(
    source: Annotated[str, typer.Argument(help="atlas, bios, a .jsonl, or RESTOR's facts.json")],
    entities: Annotated[Path | None, typer.Option(help="RESTOR's entities.json")] = None,
) -> None:
    """Check a fact set; problems are listed as file:line."""
    from restor_interp.facts import load_facts

    facts = load_facts(source, entities=entities)
    say(f"{source}: {len(facts)} facts, nothing wrong")


@data_app.command("show", epilog=epilog("data show"))
def datashow(
    source: Annotated[str, typer.Argument(help="atlas, bios, a .jsonl, or RESTOR's facts.json")],
    entity: Annotated[str | None, typer.Option(help="Only this entity's facts.")] = None,
    entities: Annotated[Path | None, typer.Option(help="RESTOR's entities.json")] = None,
    as_json: AsJson = False,
) -> None:
    """Show the facts of a set, or of one of its entities."""
    from restor_interp.errors import unknown_name
    from restor_interp.facts import load_facts

    facts = load_facts(source, entities=entities)
    if entity is not None and entity not in facts.entities:
        raise unknown_name(f"entity in {source}", entity, facts.entities)
    rows = [
        {
            "fact": fact.fact_id,
            "question": fact.question,
            "true objects": ", ".join(fact.true_objects),
            "type": fact.object_type,
        }
        for fact in facts
        if entity is None or fact.entity == entity
    ]
    show(rows, as_json)


@model_app.command("list", epilog=epilog("model list"))
def model_list(as_json: AsJson = False) -> None:
    """The built-in models and whether they are on this machine."""
    from restor_interp.cli.inventory import inventory

    show(inventory("models"), as_json)


@model_app.command("get", epilog=epilog("model get"))
def model_get(name: Annotated[str, typer.Argument(help="Name of a built-in model.")]) -> None:
    """Fetch a built-in model into the cache."""
    from restor_interp.models.loading import fetch_model

    say(f"{name}: {fetch_model(name)}")
