"""The commands ``finetune publish`` and ``finetune fetch``: what is typed, and what is told."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from finetune_export.cli.output import print_json, print_table


def publish(
    run: Annotated[Path, Parameter(help="The folder of a finished run.")],
    name: Annotated[str, Parameter(help="What the model is called on the hub: USER/NAME.")],
    /,
    *,
    private: Annotated[bool, Parameter(negative=(), help="Let nobody else see a new repository.")] = False,
    revision: Annotated[str | None, Parameter(help="The branch to publish to. [default: main]")] = None,
    dry_run: Annotated[bool, Parameter(negative=(), help="Show files and card, and send nothing.")] = False,
    json: Annotated[bool, Parameter(negative=(), help="Print one JSON object.")] = False,
) -> None:
    """Publish a finished run's verified model on the Hugging Face hub, in one commit.

    That is the folder hf of a run with --target hf, and otherwise model.onnx, as finetune.onnx, with a card. Neither
    pictures nor places on this machine go up. HF_TOKEN or 'hf auth login' say who publishes.

    Examples:
      finetune publish runs/my-run user/my-model --dry-run
      finetune publish runs/my-run user/my-model --private
    """
    from finetune.cli.progress import RichReporter
    from finetune_hf import publishing

    publication = publishing.prepare(run, name)
    if dry_run:
        _show(publication.sizes, publication.card, json)
        return
    with RichReporter() as reporter:
        done = publishing.publish(publication, private=private, revision=revision, reporter=reporter)
    print_json(done) if json else print_table([("model", done.url), ("commit", done.commit), *_rows(done.sizes)])


def fetch(
    name: Annotated[str, Parameter(help="USER/NAME on the hub, or USER/NAME@REVISION: a branch, a tag, a commit.")],
    /,
    *,
    out: Annotated[Path | None, Parameter(help="The file to write. [default: NAME.onnx]")] = None,
    json: Annotated[bool, Parameter(negative=(), help="Print one JSON object.")] = False,
) -> None:
    """Fetch a published model from the Hugging Face hub, and check it before it gets its name.

    Only finetune.onnx and the card are downloaded. Without a network, a model that was fetched before is taken from the
    cache. A model that is refused makes the exit status 4.

    Examples:
      finetune fetch user/my-model
      finetune fetch user/my-model@v2 --out models/pets.onnx
    """
    from finetune.cli.progress import RichReporter
    from finetune_hf import fetching

    with RichReporter() as reporter:
        fetched = fetching.fetch(name, out, reporter)
    print_json(fetched) if json else print_table(fetched.rows())


def _show(sizes: Mapping[str, int], card: str, json: bool) -> None:
    if json:
        print_json({"sizes": sizes, "card": card})
    else:
        print_table(_rows(sizes))
        print_table([("",), *((line,) for line in card.splitlines())])


def _rows(sizes: Mapping[str, int]) -> list[tuple[str, str]]:
    return [(name, f"{size} bytes") for name, size in sizes.items()]
