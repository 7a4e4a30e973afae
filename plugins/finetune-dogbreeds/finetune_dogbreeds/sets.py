"""The sets that are drawn: the sample of breeds, embedded, and the kinds to pretrain on."""

from __future__ import annotations

from finetune_dogbreeds.breeds import BREEDS
from finetune_dogbreeds.drawn import DrawnSet
from finetune_dogbreeds.kinds import kinds

_PER_BREED = 100
_KINDS = kinds()

SAMPLE = DrawnSet(
    source="sample",
    what="the sample of dogs",
    version=1,
    breeds=BREEDS,
    per_breed=_PER_BREED,
    notes=(
        f"These are {len(BREEDS) * _PER_BREED:,} drawn dogs of {len(BREEDS)} breeds, a sample embedded in the plugin: "
        "not photos.",
        "Its recipe starts from the weights of finetune-starter, learned from drawn dogs of other kinds: what that "
        "gains shows how transferring works, and says nothing of photos.",
        "For the real Stanford Dogs (120 breeds, 20,580 photos, 794 MB to download) say '--source stanford', "
        "with '--data DIR' if a copy is at hand.",
    ),
)
KINDS = DrawnSet(
    source="kinds",
    what="kinds of dogs that are no breeds",
    version=1,
    breeds=_KINDS,
    per_breed=_PER_BREED,
    notes=(
        f"These are {len(_KINDS) * _PER_BREED:,} drawn dogs of {len(_KINDS)} kinds that are no breeds: not photos.",
        "They are there to pretrain on, with 'finetune pretrain': drawn dogs of breeds are in '--source sample', "
        "photos in '--source stanford'.",
    ),
)
DRAWN = {drawn.source: drawn for drawn in (SAMPLE, KINDS)}
"""The drawn sets by the names of their sources."""
