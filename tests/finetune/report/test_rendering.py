"""A page made of blocks: whole, for itself, small, and what every block says is in it."""

from __future__ import annotations

import hashlib
import json
import re
from base64 import b64encode
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from finetune.report.asking import Asked
from finetune.report.markup.pictures import GONE
from finetune.report.markup.room import LARGEST_PAGE_BYTES
from finetune.report.rendering import page
from finetune.types import Confusion, Figure, Gallery, Paragraph, Picture, PictureMap, Table

from .blocks import ALL, ARABIC, CHINESE, CONFUSION, FIGURE, GALLERY, HOSTILE, MAP, SCORES, SCRIPT, jpeg, picture, point
from .conftest import png
from .document import Document

WHY = "the page would be larger than 5 MB"
LARGE = png(8) + bytes(900_000)


def page_of(*blocks: Any, name: str = "x") -> str:
    return page("dogs, tiny", "Report of the run one", [Asked(name=name, title="All of it", blocks=blocks)])


def table_of(document: str) -> dict[str, Any]:
    return json.loads(next(each for each in Document(document).named("table"))["data-orders"] or "")


def test_a_page_asks_for_nothing_and_obeys_only_its_own_style_and_script() -> None:
    made = page_of(*ALL)
    found = Document(made)
    (policy,) = [each["content"] or "" for each in found.named("meta") if "http-equiv" in each]

    own = [found.texts["style"][0], found.texts["script"][-1]]
    hashes = [f"'sha256-{b64encode(hashlib.sha256(text.encode()).digest()).decode()}'" for text in own]
    assert policy == (
        f"default-src 'none'; img-src data:; style-src {hashes[0]}; script-src {hashes[1]}; "
        "base-uri 'none'; form-action 'none'"
    )
    assert not {tag for tag, _ in found.tags} & {"iframe", "object", "form", "template"}
    assert all((image["src"] or "").startswith("data:image/") and image["alt"] for image in found.named("img"))
    assert [link["href"] for link in found.named("link")] == ["data:,"]
    assert not re.search(r"""(src|href)="?(https?:|//|\.|/)""", made)
    assert not [
        tag for tag, attributes in found.tags if "style" in attributes or any(k.startswith("on") for k in attributes)
    ]


def test_a_page_says_its_name_and_begins_with_the_first_paragraph() -> None:
    found = Document(page_of(Paragraph("It works."), Paragraph("More.")))

    assert (found.texts["title"], found.texts["h1"], found.named("html")) == (
        ["dogs, tiny"],
        ["dogs, tiny"],
        [{"lang": "en"}],
    )
    assert [each.get("class") for each in found.named("p")[:3]] == ["subtitle", "lead", None]


def test_no_name_becomes_markup_in_any_block() -> None:
    made = page_of(*ALL)

    assert HOSTILE not in made
    assert SCRIPT not in made
    assert len(Document(made).named("script")) == 2


def test_names_read_from_right_to_left_do_not_turn_an_english_sentence_around() -> None:
    mixed = f"{ARABIC} taken for {ARABIC}: 1 of 2"
    made = page_of(Gallery((picture(),), mixed), Paragraph(ARABIC))
    found = Document(made)

    assert found.texts["bdi"] == [ARABIC, ARABIC]
    assert {mixed, ARABIC} <= set(found.texts["p"])


def test_a_command_is_shown_as_it_is_typed_and_breaks_at_its_slashes() -> None:
    made = page_of(Paragraph("Again:", "finetune run --config '/a b/<c>/config.toml'"))
    found = Document(made)

    assert found.texts["code"] == ["finetune run --config '/a b/<c>/config.toml'"]
    assert len(found.named("wbr")) == 3


def test_compact_galleries_share_a_row_and_others_stand_alone() -> None:
    small, told = Picture(image=jpeg(), alt="a bee"), picture()
    sheet, pair = Gallery((small,) * 5, "bees", compact=True), Gallery((told,), "a pair", compact=True)
    found = Document(page_of(sheet, sheet, Paragraph("Then"), pair, Gallery((told,), "alone")))

    kinds = [each["class"] for each in found.named("div") if "sheet" in str(each.get("class"))]
    assert kinds == ["sheets of5", "sheet", "sheet", "sheets told", "sheet"]
    assert len(found.named("ul")) == 4


def test_facts_and_what_has_one_or_two_rows_are_not_sorted() -> None:
    rows = (("a", "1"), ("b", "2"), ("c", "3"))
    tables = (Table(("x", "y"), rows), Table(("x", "y"), rows[:2]), Table(("x", "y"), rows, sortable=False))
    found = Document(page_of(*tables))

    assert [each.get("class") for each in found.named("table")] == ["sortable", None, None]


@settings(max_examples=25, deadline=None)
@given(texts=st.lists(st.text(max_size=20), min_size=1, max_size=4), rows=st.integers(0, 3), title=st.text(max_size=20))
def test_whatever_the_texts_are_the_page_is_whole(texts: list[str], rows: int, title: str) -> None:
    table = Table(tuple(texts), tuple(tuple(texts) for _ in range(rows)), title)
    counts = tuple(tuple(range(len(texts))) for _ in texts)
    points = tuple(point(0.5, 0.5, text) for text in texts)
    blocks = (
        Paragraph(title),
        table,
        Figure(png(8), title),
        Confusion(tuple(texts), counts),
        PictureMap(points, title),
    )

    made = page(title, title, [Asked(name="x", title=title, blocks=blocks)])

    found = Document(made.encode(errors="backslashreplace").decode())
    assert (len(found.named("tr")), len(found.named("img"))) == (1 + rows + 1 + len(texts), 1)
    assert len(json.loads(found.texts["script"][0])) == len(texts)


def test_a_table_that_is_too_long_to_be_read_says_how_many_rows_there_are() -> None:
    found = Document(page_of(Table(("n",), tuple((str(n),) for n in range(5000)), "Numbers")))

    assert "The first 200 of 5,000 rows." in found.texts["p"]
    assert "200" not in found.texts["th"]


def test_columns_that_differ_in_numbers_alone_are_sorted_by_them() -> None:
    rows = (
        ("b", "90.0% (95 % interval: 80.0% to 95.0%)", "3 s", "1"),
        ("c", "8.5% (95 % interval: 1.0% to 9.0%)", "2 m", "–"),
    )
    heads = Document(page_of(Table(("name", "accuracy", "time", "pictures"), rows))).named("th")[:4]

    assert [head.get("data-sort") for head in heads] == [None, "number", None, "number"]
    assert [head.get("class") for head in heads] == [None, None, None, "number"]


# ── pictures ────────────────────────────────────────────────────────────────────────────────────────


def test_a_drawing_has_a_light_and_a_dark_version_where_both_are_given() -> None:
    found = Document(page_of(FIGURE, Figure(png(8), "One for both")))

    assert [each["class"] for each in found.named("img")] == ["drawing", "drawing dark", "drawing"]
    assert [each.get("class") for each in found.named("figure")] == ["both", None]


def test_a_picture_that_is_gone_keeps_its_lines_and_its_place() -> None:
    found = Document(page_of(GALLERY))

    assert [each["aria-label"] for each in found.named("div") if each.get("class") == "nothing"] == [
        f"a picture that was moved: {GONE}"
    ]
    assert {GONE} <= set(found.texts["span"])
    assert {"its line", "The worst"} <= set(found.texts["p"])
    assert [each["alt"] for each in found.named("img")] == [HOSTILE, "a bee", "a bee, with something drawn over it"]


def test_a_point_of_a_map_says_what_it_is_and_those_that_stand_out_are_crosses_on_top() -> None:
    found = Document(page_of(MAP))
    facts = json.loads(found.texts["script"][0])

    marks = [path["class"] for path in found.named("path")][:4]
    assert [mark for mark in marks if mark and mark.endswith(" x")] == marks[-1:]
    assert [fact["group"] for fact in facts] == ["bees", SCRIPT, "bees", "ants"]
    assert facts[0]["images"][0].startswith("data:image/jpeg;base64,")
    assert found.texts["span"] == [SCRIPT, "ants", "bees", "stands out (1)"]


def test_of_many_groups_the_largest_have_their_own_look_and_the_others_one() -> None:
    points = tuple(point(0.5, 0.5, f"group {number}") for number in range(60) for _ in range(1 + (number < 5)))

    entries = Document(page_of(PictureMap(points))).texts["span"]

    assert len(entries) == 19
    assert {*(f"group {number}" for number in range(5)), "42 others"} <= set(entries)


# ── a confusion matrix ──────────────────────────────────────────────────────────────────────────────


def test_a_matrix_says_every_count_and_where_it_was_right() -> None:
    found = Document(page_of(CONFUSION))
    classes = [each.get("class") or "" for each in found.named("td")]

    assert [int(text) for text in found.texts["td"]] == [count for row in CONFUSION.counts for count in row]
    assert [number for number, name in enumerate(classes) if name.startswith("r")] == [0, 7, 14, 21, 28, 35]
    assert all((name == "") == (text == "0") for name, text in zip(classes, found.texts["td"], strict=True))
    assert found.texts["span"].count(CHINESE) == 2


def test_numbers_in_names_count_as_numbers_however_long_they_are() -> None:
    names = ("a1" + "0" * 5000, "a9" * 2, "a" + "9" * 5000, "a010", "a9")
    orders = table_of(page_of(Confusion(names, ((1,) * 5,) * 5)))

    assert orders["by name"] == [4, 1, 3, 2, 0]


def test_a_matrix_offers_orders_that_hold_every_label_once() -> None:
    counts = ((9, 0, 5, 0), (0, 9, 0, 1), (5, 0, 9, 0), (0, 1, 0, 9))
    orders = table_of(page_of(Confusion(("b 10", "b 9", "a", "c"), counts)))

    assert orders["as given"] == [0, 1, 2, 3]
    assert orders["by name"] == [2, 1, 0, 3]
    assert orders["most mistakes first"] == [0, 2, 1, 3]
    assert {frozenset(orders["alike side by side"][:2]), frozenset(orders["alike side by side"][2:])} == {
        frozenset({0, 2}),
        frozenset({1, 3}),
    }


@settings(max_examples=25, deadline=None)
@given(
    st.integers(1, 6).flatmap(
        lambda n: st.lists(st.lists(st.integers(0, 9), min_size=n, max_size=n), min_size=n, max_size=n)
    )
)
def test_every_order_of_every_matrix_holds_each_label_once(counts: list[list[int]]) -> None:
    labels = tuple(map(str, range(len(counts))))
    orders = table_of(page_of(Confusion(labels, tuple(map(tuple, counts)))))

    assert all(sorted(order) == list(range(len(counts))) for order in orders.values())


def test_of_a_thousand_labels_the_matrix_shows_those_with_the_most_mistakes() -> None:
    counts = [[int(row == column) for column in range(1000)] for row in range(1000)]
    for row in range(900, 1000):
        counts[row][row - 1 if row > 900 else 999] = 2
    found = Document(page_of(Confusion(tuple(f"label {n}" for n in range(1000)), tuple(map(tuple, counts)))))

    assert len(found.named("td")) == 100 * 100
    assert found.texts["th"].count("is ↓ \xa0 answered →") == 1
    assert [text for text in found.texts["span"] if text.startswith("label")][:100] == [
        f"label {n}" for n in range(900, 1000)
    ]
    assert any(
        text.startswith("Of 1,000 labels the 100 that have the largest part in mistakes") for text in found.texts["p"]
    )


# ── the size ────────────────────────────────────────────────────────────────────────────────────────


def test_pictures_that_no_longer_fit_are_left_out_and_a_sentence_says_so_in_their_place() -> None:
    gallery = Gallery(tuple(picture(f"picture {n}", LARGE) for n in range(6)))
    made = page_of(gallery, Figure(LARGE, "A curve"), MAP, SCORES)
    found = Document(made)

    assert len(made.encode()) <= LARGEST_PAGE_BYTES
    assert len(found.named("img")) == 4
    assert {f"2 of 6 pictures left out here: {WHY}.", f"A drawing is left out here: {WHY}. A curve"} <= set(
        found.texts["p"]
    )
    assert {f"is picture {n}" for n in range(6)} <= set(found.texts["p"])
    assert len(found.named("table")) == 1
    assert "missing" not in json.loads(found.texts["script"][0])[0], "small pictures still fit"


def test_points_whose_pictures_no_longer_fit_say_so() -> None:
    large = Picture(image=LARGE, alt="x")
    points = tuple(point(n / 8, 0.5) for n in range(1)) + tuple(
        type(MAP.points[0])(x=n / 8, y=0.5, group="g", picture=large) for n in range(6)
    )
    made = page_of(PictureMap(points))
    found = Document(made)

    assert len(made.encode()) <= LARGEST_PAGE_BYTES
    assert f"2 of 7 pictures left out here: {WHY}." in found.texts["p"]
    assert [fact.get("missing") for fact in json.loads(found.texts["script"][0])][
        -1
    ] == f"The picture is left out: {WHY}."


def test_a_section_whose_texts_alone_are_too_long_leaves_a_word_and_the_others_stay() -> None:
    sections = [
        Asked(name="long", title="Long", blocks=(Paragraph("é" * 2_600_000),)),
        Asked(name="short", title="Short", blocks=(SCORES, FIGURE)),
    ]
    made = page("d", "r", sections)
    found = Document(made)

    assert len(made.encode()) <= LARGEST_PAGE_BYTES
    assert f"This section is missing. It is too long: {WHY}." in found.texts["p"]
    assert (len(found.named("table")), len(found.named("img"))) == (1, 2)


@settings(max_examples=10, deadline=None)
@given(st.lists(st.integers(1, 990_000), max_size=12))
def test_no_pictures_make_a_page_too_large(sizes: list[int]) -> None:
    pictures = tuple(picture(f"é {n}", png(8) + bytes(size)) for n, size in enumerate(sizes))

    assert len(page_of(Gallery(pictures), *ALL).encode()) <= LARGEST_PAGE_BYTES
