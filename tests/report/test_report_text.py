"""What runs and studies name is text in a report: it changes no structure and brings no file in."""

import base64
import dataclasses
import json
import re
from collections import Counter
from html.parser import HTMLParser
from urllib.parse import unquote

import numpy as np
import pytest
from report.test_report import report, write_run

from jaxcifar.config.experiment import Config
from jaxcifar.errors import RunError
from jaxcifar.report import wording, write_report
from jaxcifar.report.page import markdown_to_page
from jaxcifar.report.references import wrong_normalisation_verdict

SECRET = b"-----BEGIN PRIVATE KEY-----"
ATTACKS = [
    "x ![y](../secret.txt) z",
    "x ![y][z]\n\n[z]: ../secret.txt",
    "<img src=../secret.txt><script>alert(1)</script>",
    "[click](javascript:alert(1)) <https://evil.example> https://evil.example www.evil.example",
    "a | b || c\n| --- | --- |\n| x | y |",
    "x\n\n# A heading\n\n## Another\n===\n---",
    "```\n![y](../secret.txt)\n~~~\n",
    "1. one\n2. two",
    "- item\n  - item",
    "> quote",
    "**bold** __bold__ _em_ `code` ~~gone~~ &lt;b&gt; \\",
    "$x_1$ $\\frac{1$ %s {{ 7 * 7 }} {% raw %}",
    "\x1b[31mred\x1b[0m\r\x00\x07\u202eright\u2028left\ud800".replace("\ud800", "\x9b"),
    "a" * 900,
    "<details>\n<summary>x</summary>\n\n</details>",
    "</details>",
    "<summary>How to read the figures</summary>",
]


class Tags(HTMLParser):
    """The elements of a page in order, with what they refer to."""

    def __init__(self, page):
        super().__init__()
        self.found, self.pictures, self.links, self.ids = [], [], [], []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.found.append(tag)
        self.links += [unquote(value) for name, value in attrs if name == "href"]
        self.ids += [f"#{value}" for name, value in attrs if name == "id"]
        if tag == "img":
            self.pictures.append(dict(attrs)["src"])


def write_named(folder, text):
    """A study with a finished, an unfinished and an unreadable run, and a run without a study.

    All that can be named is named by `text`.
    """
    texts = {
        "title": text,
        "config": {"arch": "cnn", "epochs": 4, "batch_size": 128},
        "rows": {
            "raw": {"normalize": False, "reference": [0.2]},
            "norm": {"arch_args": {"hidden": 8}, "reference": [0.8]},
        },
        "reference": {"name": text, "epochs": 9, "sets": [text]},
        "author": text,
    }
    folder.mkdir()
    (folder / "study.json").write_text(json.dumps(texts))
    named = {
        "dataset": text,
        "dataset_fingerprint": {text: "a" * 64},
        "device": text,
        "compute_dtype": text,
        "git_commit": text,
        "versions": {text: text},
        "names": [text, text + "2", "c"],
        "class_names": [text, text + "2", "c"],
    }
    matrix = np.array([[5, 3, 2], [2, 6, 2], [1, 1, 8]])
    own = dataclasses.replace(
        Config.create("cnn", epochs=4, dropout=0.0),
        arch=f"z{text}:Net",
        arch_args=((text, text),),
        dataset=text,
        data_sha256="b" * 64,
        sources=(("arch", "0" * 64),),
    )
    for path, config in (
        ("raw/seed0", Config.create("cnn", epochs=4, normalize=False)),
        ("norm/seed0", Config.create("cnn", epochs=4, arch_args={"hidden": 8})),
        ("alone", own),
        ("left", own),
        ("lost", own),
    ):
        write_run(folder / path, config, 0.6, 0.6, matrix=matrix, **named)
    (folder / "left" / "result.json").unlink()
    (folder / "left" / "failure.txt").write_text(text)
    (folder / "lost" / "config.json").write_text(json.dumps(own.to_dict() | {text: 1}))
    (folder / "alone" / "network.json").write_text(json.dumps({text: text}))
    return folder


def cells(text):
    """How many each line of a table has, as sites count them that know no code in tables."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [line.replace("\\|", "").count("|") for line in lines]


@pytest.fixture(scope="module")
def harmless(tmp_path_factory):
    folder = write_named(tmp_path_factory.mktemp("report") / "runs", "word")
    text = report(folder)
    return text, Tags((folder / "report.html").read_text())


@pytest.mark.parametrize("attack", ATTACKS, ids=range(len(ATTACKS)))
def test_markup_in_names_changes_no_structure(tmp_path, harmless, attack):
    """The same lines, cells and elements as with a harmless word in their place."""
    (tmp_path / "secret.txt").write_bytes(SECRET)
    text = report(write_named(tmp_path / "runs", attack))
    page = (tmp_path / "runs" / "report.html").read_text()
    before, tags = harmless[1], Tags(page)
    assert tags.found == before.found
    assert set(tags.links) <= set(tags.ids)  # nothing leads elsewhere
    assert cells(text) == cells(harmless[0])
    assert all(line.isprintable() for line in text.splitlines())
    assert base64.b64encode(SECRET).decode()[:20] not in page
    without_paths = re.sub(r"\]\(report/[\w.+-]*\)", "]", text.split("```")[0])
    assert not re.search(r"[^\\]!\[y|[^\\\w]<script|[^\\]://evil|www\.", without_paths)


def test_markup_in_names_is_drawn_as_plain_text(tmp_path):
    """With all pictures: no formula, no markup, and each picture in the page is one on the disk."""
    folder = write_named(tmp_path / "runs", "$x_1$ $\\frac{1$ \x1b[31m <b>")
    report(folder, pictures=True)
    drawn = {path.read_bytes() for path in (folder / "report").iterdir()}
    for picture in (folder / "report").glob("*.svg"):  # no text but shapes, nothing from elsewhere
        assert not re.search(r"<!--|<script|<text|<b>|href=\"(?!#|data:)", picture.read_text())
    pictures = Tags((folder / "report.html").read_text()).pictures
    assert pictures
    for source in pictures:
        kind, _, data = source.partition(",")
        assert kind in ("data:image/png;base64", "data:image/svg+xml;base64")
        assert base64.b64decode(data) in drawn


@pytest.mark.parametrize(
    "source", ["secret.txt", "/etc/passwd", "report/old.png", "https://x/y.png"]
)
def test_a_page_has_the_given_pictures_and_no_other_file(tmp_path, monkeypatch, source):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "secret.txt").write_bytes(SECRET)
    page = markdown_to_page(f"![alt]({source}) ![good](report/a.png)", "t", {"report/a.png": b"x"})
    assert Tags(page).pictures == ["data:image/png;base64,eA=="]


def test_links_in_the_reports_folder_are_neither_followed_nor_emptied(tmp_path):
    folder = write_named(tmp_path / "runs", "word")
    (tmp_path / "secret.txt").write_bytes(SECRET)
    report(folder)
    names = [path.name for path in (folder / "report").iterdir()]
    for name in names:
        (folder / "report" / name).unlink()
        (folder / "report" / name).symlink_to(tmp_path / "secret.txt")
    report(folder)
    assert (tmp_path / "secret.txt").read_bytes() == SECRET
    assert not any((folder / "report" / name).is_symlink() for name in names)
    for path in (folder / "report").iterdir():
        path.unlink()
    (folder / "report").rmdir()
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "mine.png").write_bytes(b"mine")
    (folder / "report").symlink_to(tmp_path / "photos")
    with pytest.raises(RunError, match="is a link"):
        write_report(folder)
    assert [path.name for path in (tmp_path / "photos").iterdir()] == ["mine.png"]


NOTES = """# Hard

*Slow*, **very** <b>slow</b> ![x](../secret.txt) [y](https://evil.example)
- one
- two
  1. inner

| a | b |
| --- | --- |

<script>alert(1)</script>

<details>
<summary>x</summary>

</details>

    </details>

`</details>`
"""


@pytest.mark.parametrize(
    "line",
    [
        " <details>",
        "<details >",
        "<details> ",
        "<DETAILS>",
        "<details open>",
        "<details onclick=x>",
        "a <details>",
        "- <details>",
        "> </details>",
        "<summary>a<b</summary>",
        "<summary><b>a</b></summary>",
        "<summary>&lt;</summary>",
        "<summary></summary>",
        "<summary>a</summary> b",
        "`</details>`",
        "\\</details>",
        "a\n</details>",
    ],
)
def test_only_the_three_lines_of_a_fold_are_html(line):
    page = markdown_to_page(f"before\n\n{line}\n\nafter", "t", {})
    assert not {"details", "summary", "b"} & set(Tags(page).found)


def test_a_fold_becomes_the_elements_of_the_page():
    text = "<details>\n<summary>The layers, one a line</summary>\n\n- **x**\n\n</details>\n\ny"
    page = markdown_to_page(text, "t", {})
    assert "<details>\n<summary>The layers, one a line</summary>\n<ul>" in page
    assert "</ul>\n</details>\n<p>y</p>" in page


def test_notes_keep_simple_markup_and_show_the_rest_as_text(tmp_path):
    folder = write_named(tmp_path / "runs", "word")
    before = Tags(report(folder) and (folder / "report.html").read_text())
    (folder / "NOTES.md").write_text(NOTES)
    text = report(folder)
    page = (folder / "report.html").read_text()
    assert re.search(r"^## \d+\. Challenges and thoughts$", text, re.M)
    assert (
        "<em>Slow</em>, <strong>very</strong> &lt;b&gt;slow&lt;/b&gt; ![x](../secret.txt)" in page
    )
    more = Counter(Tags(page).found) - Counter(before.found)
    assert more == Counter(a=1, code=1, em=1, h2=1, h4=1, li=4, ol=1, p=more["p"], strong=1, ul=1)
    assert set(Tags(page).links) <= set(Tags(page).ids)


@pytest.mark.parametrize("kind", ["link", "large", "bytes"])
def test_notes_that_can_not_be_read_are_named(tmp_path, kind):
    folder = write_named(tmp_path / "runs", "word")
    (tmp_path / "secret.txt").write_bytes(SECRET)
    if kind == "link":
        (folder / "NOTES.md").symlink_to(tmp_path / "secret.txt")
    else:
        (folder / "NOTES.md").write_bytes(b"a" * 10**6 if kind == "large" else b"\xff")
    text = report(folder)
    assert re.search(r"^- NOTES.md: NOTES.md: ", text, re.M)
    assert "PRIVATE" not in text


@pytest.mark.parametrize("name", ["failure.txt", "config.json", "metrics.jsonl", "network.json"])
def test_a_runs_file_that_is_a_link_is_not_shown(tmp_path, name):
    folder = write_named(tmp_path / "runs", "word")
    (tmp_path / "secret.txt").write_bytes(SECRET)
    (folder / "alone" / name).unlink(missing_ok=True)
    (folder / "alone" / name).symlink_to(tmp_path / "secret.txt")
    text = report(folder)
    assert f"{name}: is a link" in text or f"{name} in the run's folder can't be read" in text
    assert "PRIVATE" not in text


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("1. one", r"1\. one"),
        ("- one", r"\- one"),
        ("lr0.1-cosine", "lr0.1-cosine"),
        ("a_b __c__", r"a_b \_\_c\_\_"),
        ("http://x www.y", r"http\://x www\.y"),
        ("a\n\x1bb", r"a \\x1bb"),
    ],
)
def test_markdown_is_escaped(text, plain):
    assert wording.escape_markdown(text) == plain


def test_a_slip_may_explain_some_figures_and_not_others():
    low = {"test": 0.8, "mismatched": 0.2}
    lines = [{"name": "a", "reference": 0.21, **low}, {"name": "b", "reference": 0.7, **low}]
    output = wrong_normalisation_verdict(lines)
    assert output.startswith("That explains 1 of 2: “a” falls from 80.00% to 20.00%")
    assert "does not explain the other: “b” falls" in output


@pytest.mark.parametrize(
    ("mismatched", "verdict"),
    [
        ([0.30, 0.05], "our networks fall even lower ("),
        ([0.30, 0.64], "our networks fall too, but some less and some more ("),
        ([0.70, 0.64], "our networks fall too, but not as low ("),
    ],
)
def test_a_slip_may_explain_figures_in_part(mismatched, verdict):
    """The reference has 60% and 50% where ours have 80%; a share of 1.5 would still explain it."""
    lines = [
        {"name": name, "reference": reference, "test": 0.8, "mismatched": value}
        for name, reference, value in zip("ab", (0.6, 0.5), mismatched, strict=True)
    ]
    output = wrong_normalisation_verdict(lines)
    assert output.startswith(f"That explains them in part: on such images {verdict}“a” falls from")


def test_an_alternative_text_cannot_end_its_attribute():
    """A class name of a stranger's run may hold quotes and handlers of events."""

    class Images(HTMLParser):
        def handle_starttag(self, tag, attributes):
            if tag == "img":
                found.append(dict(attributes))

    name = """cat" onload="alert(1)" x='y'"""
    found = []
    Images().feed(markdown_to_page(f"![{name}](a.png)", "t", {"a.png": b"x"}))
    [attributes] = found
    assert set(attributes) == {"class", "src", "alt"}
    assert attributes["alt"] == name
