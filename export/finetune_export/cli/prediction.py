"""The work of ``predict``: from its options to rows on stdout, or in a file."""

from __future__ import annotations

import argparse
import hashlib
import sys
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any

import onnxruntime
import PIL

from finetune_export import __version__
from finetune_export.bulk import formats, job, sources
from finetune_export.bulk.answers import Answer, Question, fitted, open_predictor
from finetune_export.bulk.part import Part
from finetune_export.bulk.sources import Entry
from finetune_export.cli.answer_table import table
from finetune_export.cli.output import print_note
from finetune_export.cli.progress import Progress
from finetune_export.image import Limits


class Work:
    """What ``predict`` was asked to do, its model opened; ``kind`` is the format of the answers."""

    def __init__(self, arguments: argparse.Namespace, kind: str) -> None:
        self._arguments = arguments
        self._kind = kind
        question = _question(arguments)
        self._predictor = open_predictor(question, check=not arguments.no_check)
        self._question = fitted(question, self._predictor)
        formats.refuse_unfit(kind, self._question)
        for note in self._predictor.notes:
            print_note(arguments, note)

    def to_stdout(self) -> int:
        """Print the answers as they come, and return how many are errors."""
        shown = not (self._arguments.quiet or sys.stdout.isatty())  # progress would come between the rows
        errors = 0

        def each(batches: Iterable[list[Answer]]) -> Iterator[Answer]:
            nonlocal errors
            for answer in chain.from_iterable(batches):
                errors += answer.error is not None
                yield answer

        with closing(self._answers(self._batches(), shown)) as answers:
            for line in self._lines(each(answers)):
                print(end=line, flush=True)
        return errors

    def to_file(self) -> int:
        """Write the answers to a file, going on where an earlier run was, and return how many are errors."""
        arguments = self._arguments
        with Part(arguments.out, self._facts(), self._question, restart=arguments.restart) as part:
            self._fill(part)
            part.finish(self._kind)
        if not arguments.quiet:
            refused = f"; {part.errors} could not be read, 'error' says why" if part.errors else ""
            print_note(arguments, f"{arguments.out}: {part.rows} rows{refused}")
        return part.errors

    def _fill(self, part: Part) -> None:
        """Append the rows that are missing; when that is stopped, say how it goes on."""
        batches = part.remaining(self._batches())
        try:
            with closing(self._answers(batches, not self._arguments.quiet, part.rows)) as answers:
                for batch in answers:
                    part.append(batch)
        except (KeyboardInterrupt, SystemExit):
            command = "the same command without --restart" if self._arguments.restart else "the same command"
            print_note(self._arguments, f"{part.rows} rows are in {part.path}; {command} goes on from there")
            raise

    def _batches(self) -> Iterator[Sequence[Entry]]:
        entries = sources.entries(self._arguments.sources, null=self._arguments.null)
        return job.batched(entries, self._batch_size)

    def _answers(
        self, batches: Iterator[Sequence[Entry]], shown: bool, done: int = 0
    ) -> Generator[list[Answer], None, None]:
        """Yield the answers to each batch, and show how far they are; ``done`` is how many rows there were before."""
        with closing(job.answers(self._predictor, self._question, batches, self._processes)) as answers:
            progress = Progress(self._arguments.program, None if self._from_stdin else self._count, done)
            yield from progress.following(answers) if shown else answers

    def _count(self) -> int:
        return sum(1 for _ in sources.entries(self._arguments.sources))

    @property
    def _from_stdin(self) -> bool:
        return sources.STDIN in self._arguments.sources

    @property
    def _processes(self) -> int | None:
        """How many processes answer: one where pictures are listed and answers shown as they come, unless asked for."""
        as_they_come = self._from_stdin and not self._arguments.out
        return self._arguments.processes or (1 if as_they_come else None)

    @cached_property
    def _batch_size(self) -> int:
        return self._arguments.batch_size or job.batch_size(self._predictor)

    def _facts(self) -> dict[str, Any]:
        """Return what the rows depend on, so that no two runs that differ in it ever become one file."""
        contract = self._predictor.contract
        return {
            "model": contract.graph_sha256,
            "contract": hashlib.sha256(contract.to_json().encode()).hexdigest(),
            "sources": self._arguments.sources,
            "working folder": str(Path.cwd()),
            "--null": self._arguments.null,
            "--top": self._question.top,
            "--embeddings": self._question.embeddings,
            "--batch-size": self._batch_size,
            "providers": list(self._predictor.providers),
            "limits": vars(self._question.limits),
            "versions": {
                "finetune-export": __version__,
                "onnxruntime": onnxruntime.__version__,
                "Pillow": PIL.__version__,
            },
        }

    def _lines(self, answers: Iterable[Answer]) -> Iterator[str]:
        if self._kind in formats.TEXT_FORMATS:
            return formats.TEXT_FORMATS[self._kind](answers, self._question)
        return table(self._answered(answers), self._question)

    def _answered(self, answers: Iterable[Answer]) -> Iterator[Answer]:
        """Yield the answers that are no errors; of the others, the errors are told."""
        for answer in answers:
            if answer.error is None:
                yield answer
            else:
                print_note(self._arguments, f"{answer.path}: {answer.error}")


def _question(arguments: argparse.Namespace) -> Question:
    return Question(
        model=arguments.model,
        top=arguments.top or 0,
        embeddings=arguments.embeddings,
        providers=tuple(arguments.provider),
        limits=Limits(max_bytes=arguments.max_file_mb * 2**20, max_pixels=arguments.max_megapixels * 10**6),
    )
