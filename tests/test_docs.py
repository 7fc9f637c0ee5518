"""Each page of the docs says the same in English and in Chinese: commands, settings, numbers, tables and links."""

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.conftest import ROOT

README = ROOT / "README.md"
DOCS = ROOT / "docs"
# English page: its Chinese one
PAGES = {README: ROOT / "README.zh.md"} | {
    page: DOCS / "zh" / page.relative_to(DOCS)
    for page in sorted(DOCS.rglob("*.md"))
    if not page.is_relative_to(DOCS / "zh")
}
ENGLISH = {chinese: english for english, chinese in PAGES.items()}
OTHER_LANGUAGE = re.compile(r"^(?:English|中文): \[.*\]\((.*)\)$", re.MULTILINE)  # leads to the other page
UNITS = {"thousand": 1e3, "million": 1e6, "billion": 1e9, "万": 1e4, "亿": 1e8, None: 1}


@dataclass
class Section:
    """What is between two headings, which both languages share."""

    title: str
    level: int
    text: list[str] = field(default_factory=list)
    blocks: list[list[str]] = field(default_factory=list)  # fenced; the first line is the fence
    links: list[str] = field(default_factory=list)
    code: list[str] = field(default_factory=list)
    numbers: list[float | str] = field(default_factory=list)
    rows: list[int] = field(default_factory=list)  # of each table


def sections(text: str) -> list[Section]:
    found = [Section("the beginning", 0)]
    inside = False
    for line in OTHER_LANGUAGE.sub("", text).splitlines():
        if line.startswith("```"):
            inside = not inside
            if inside:
                found[-1].blocks.append([line])
        elif inside:
            found[-1].blocks[-1].append(line)
        elif heading := re.match(r"(#+) (.*)", line):
            found.append(Section(heading[2], len(heading[1]), [heading[2]]))
        else:
            found[-1].text.append(line)
    assert not inside, "a fenced block has no end"
    for section in found:
        text = "\n".join(section.text)
        section.rows = [match[0].count("\n") for match in re.finditer(r"(?:^\|.*\n)+", text + "\n", re.MULTILINE)]
        section.code = [" ".join(match[2].split()) for match in re.finditer(r"(`+)(.+?)\1", text, re.DOTALL)]
        text = re.sub(r"(`+)(.+?)\1", "", text, flags=re.DOTALL)
        section.links = re.findall(r"\]\(([^)\s]+)\)", text)
        section.numbers = list(numbers(re.sub(r"\]\([^)\s]+\)", "]", text)))
    return found


def numbers(text: str) -> Iterable[float | str]:
    """Each number by its value, so that 85.8 million and its Chinese spelling, which counts by ten thousands, agree."""
    for number, unit in re.findall(r"(\d(?:[\d,]*\d)?(?:\.\d+)*)(?:\s*(thousand|million|billion|万|亿))?", text):
        plain = number.replace(",", "")
        yield plain if plain.count(".") > 1 else round(float(plain) * UNITS[unit or None], 6)


def commands(block: list[str]) -> list[str]:
    """The lines of a fenced block without what is for people: comments; the labels of a diagram."""
    if block[0] == "```mermaid":
        bare = [re.sub(r"\[\(.*?\)\]|\(\[.*?\]\)|\[.*?\]|\{.*?\}", "", line) for line in block]
        return [re.sub(r"--.*?-->|-\..*?->", "-->", line).strip() for line in bare]
    bare = [re.sub(r"(^|\s)# .*", "", line).rstrip() for line in block]
    return [line for line in bare if line]


def anchors(page: Path) -> list[str]:
    """GitHub's anchor of each heading."""
    titles = [section.title for section in sections(page.read_text(encoding="utf-8"))[1:]]
    return [re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles]


def targets(page: Path, section: Section) -> Iterable[tuple[str, Path, str]]:
    """Each link of the section to a file: the link, the file and the anchor in it."""
    for link in section.links:
        if "://" not in link:
            path, _, anchor = link.partition("#")
            yield link, (page.parent / path).resolve() if path else page, anchor


def broken(page: Path) -> Iterable[str]:
    """Links that lead nowhere, and those of a Chinese page to an English one that is there in Chinese."""
    for section in sections(page.read_text(encoding="utf-8")):
        for link, to, anchor in targets(page, section):
            if not to.exists():
                yield f"{page.relative_to(ROOT)} links to {link}, which is not there"
            elif anchor and anchor not in anchors(to):
                yield f"{page.relative_to(ROOT)} links to {link}, and no heading there has this anchor"
            elif page in ENGLISH and to in PAGES:
                yield f"{page.relative_to(ROOT)} links to {link}, which is there in Chinese"


def places(page: Path, section: Section) -> list[str]:
    """Where the section's links lead: pages by their English name, headings by their place in the page."""
    found = [link for link in section.links if "://" in link]
    for _, to, anchor in targets(page, section):
        at = f" heading {anchors(to).index(anchor)}" if anchor and to.exists() and anchor in anchors(to) else anchor
        found.append(f"{ENGLISH.get(to, to).relative_to(ROOT)}{at}")
    return found


def compared(english: Path, chinese: Path) -> Iterable[str]:
    """What one page says and the other does not."""
    ours, theirs = (sections(page.read_text(encoding="utf-8")) for page in (english, chinese))
    shape = [[section.level for section in page] for page in (ours, theirs)]
    if shape[0] != shape[1]:
        titles = [[f"{'#' * section.level} {section.title}" for section in page[1:]] for page in (ours, theirs)]
        yield f"the headings differ: {len(titles[0])} English {titles[0]}, {len(titles[1])} Chinese {titles[1]}"
        return
    for one, other in zip(ours, theirs, strict=True):
        for kind, left, right in (
            ("lines of code", _lines(one), _lines(other)),
            ("code in the text", one.code, other.code),
            ("numbers", one.numbers, other.numbers),
            ("links", places(english, one), places(chinese, other)),
        ):
            for language, lacking in (
                ("Chinese", Counter(left) - Counter(right)),
                ("English", Counter(right) - Counter(left)),
            ):
                if lacking:
                    yield f"'{one.title}': {kind} that are not in the {language} page: {list(lacking.elements())}"
        if _lines(one) != _lines(other) and Counter(_lines(one)) == Counter(_lines(other)):
            yield f"'{one.title}': the lines of code have another order"
        if one.rows != other.rows:
            yield f"'{one.title}': the tables have {one.rows} rows in English, {other.rows} in Chinese"


def _lines(section: Section) -> list[str]:
    return [line for block in section.blocks for line in [*commands(block), "```"]]


@pytest.mark.parametrize("english", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_each_page_says_the_same_in_chinese(english: Path) -> None:
    chinese = PAGES[english]
    name = chinese.relative_to(ROOT)
    assert chinese.exists(), f"{english.relative_to(ROOT)} has no Chinese page: write {name}"
    if faults := [*compared(english, chinese), *broken(english), *broken(chinese)]:
        pytest.fail(f"{english.relative_to(ROOT)} and {name} differ; change both.\n" + "\n".join(faults), pytrace=False)


def test_each_chinese_page_has_an_english_one_and_leads_to_it() -> None:
    assert {*DOCS.glob("zh/**/*.md"), *ROOT.glob("*.zh.md")} == set(ENGLISH)
    for page, other in [*ENGLISH.items(), (README, PAGES[README])]:
        links = OTHER_LANGUAGE.findall(page.read_text(encoding="utf-8"))
        assert [(page.parent / link).resolve() for link in links] == [other], f"{page.name} has no line with {other}"


@pytest.mark.parametrize(
    ("was", "becomes", "told"),
    [
        ("slipway up  # start\n", "", "lines of code that are not in the Chinese page: ['slipway up']"),
        ("  epochs: 3", "  epochs: 4", "lines of code that are not in the English page: ['  epochs: 4']"),
        ("`--keep`", "that", "code in the text that are not in the Chinese page: ['--keep']"),
        ("1,000", "2,000", "numbers that are not in the Chinese page: [1000.0]"),
        ("| b | c |\n", "", "the tables have [4] rows in English, [3] in Chinese"),
        ("[a](#more)", "a", "links that are not in the Chinese page: ['docs/page.md heading 1']"),
        ("[a](#more)", "[a](#less)", "docs/zh/page.md links to #less, and no heading there has this anchor"),
        ("[a](#more)", "[a](more.md)", "docs/zh/page.md links to more.md, which is not there"),
        ("[a](#more)", "[a](../page.md#more)", "docs/zh/page.md links to ../page.md#more, which is there in Chinese"),
        ("## More", "### More", "the headings differ"),
    ],
)
def test_what_is_missing_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, was: str, becomes: str, told: str
) -> None:
    english, chinese = tmp_path / "docs/page.md", tmp_path / "docs/zh/page.md"
    chinese.parent.mkdir(parents=True)
    monkeypatch.setattr("tests.test_docs.ROOT", tmp_path)
    monkeypatch.setattr("tests.test_docs.ENGLISH", {chinese: english})
    monkeypatch.setattr("tests.test_docs.PAGES", {english: chinese})
    text = (
        "# Page\n1,000 rows, 2 million cells, [a](#more)\n```\nslipway up  # start\nslipway down\n```\n## More\n"
        "`--keep` keeps\n\n| a | b |\n|---|---|\n| a | c |\n| b | c |\n\n```yaml\ntrain:\n  epochs: 3  # few\n```\n"
    )
    english.write_text(text, encoding="utf-8")
    same = text.replace("# start", "# 启动").replace("2 million", "200 万").replace("keeps", "保留")
    chinese.write_text(same, encoding="utf-8")
    assert not [*compared(english, chinese), *broken(english), *broken(chinese)]
    chinese.write_text(same.replace(was.replace("# start", "# 启动"), becomes), encoding="utf-8")
    assert any(told in fault for fault in [*compared(english, chinese), *broken(chinese)])
