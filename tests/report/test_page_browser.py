"""The report's page in a real browser: tables, curves and images, with and without its script.

The tests need Playwright (the extra `browser`) and a Chromium that is installed on the machine.
"""

import re
import shutil

import invented
import matplotlib
import numpy as np
import pytest
from invented import BY_VALIDATION, CLASSES, RUNS
from matplotlib.figure import Figure
from PIL import Image

from jaxcifar.report import write_report
from jaxcifar.report.page import markdown_to_page
from jaxcifar.report.page_data import PageData, json_for_html
from jaxcifar.runs.folder import RunFolder
from jaxcifar.runs.image_files import write_arrays

playwright = pytest.importorskip(
    "playwright.sync_api", reason="Playwright is not installed: pip install playwright"
)
PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = next(filter(None, map(shutil.which, PROGRAMS)), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on this machine")
ALL_ROWS = ".chart:has(select)"  # the chart of all rows of a study


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


def save_blank(figure, file, **options):
    """Write an empty picture, because drawing takes most of the time."""
    if matplotlib.rcParams["savefig.format"] == "svg":
        file.write(b'<svg xmlns="http://www.w3.org/2000/svg" width="460" height="300"/>')
    else:
        Image.new("RGB", (460, 300)).save(file, "PNG")


COLORS = np.random.RandomState(0).randint(0, 256, (12, 3)).astype(np.uint8)


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """The address of the invented study's page; behind (true, predicted) are plain colours."""
    folder = invented.write_study(tmp_path_factory.mktemp("invented") / "s")
    cells = [(label, predicted) for label in range(4) for predicted in range(4)]
    cells = np.asarray([cell for cell in cells if cell[0] != cell[1]], np.int32)
    images = np.broadcast_to(COLORS[:, None, None], (12, 32, 32, 3))
    arrays = {
        "index": np.arange(12, dtype=np.int32),
        "label": cells[:, 0],
        "predicted": cells[:, 1],
        "confidence": np.linspace(0.95, 0.4, 12).astype(np.float32),
        "image": images,
    }
    for path in folder.glob("*/*/"):
        write_arrays(RunFolder(path).confusions_file, arrays)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Figure, "savefig", save_blank)
        return write_report(folder).as_uri()


@pytest.fixture
def visit(browser):
    """Opens an address; after the test, nothing was requested and nothing went wrong."""
    contexts, problems = [], []

    def open_page(address, **options):
        context = browser.new_context(viewport={"width": 1100, "height": 800}, **options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(20_000)
        page.on("console", lambda message: problems.append(message.text))
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("dialog", lambda dialog: problems.append(dialog.message))
        page.on("request", lambda request: problems.append(request.url))
        page.goto(address)
        assert problems.pop(0) == address
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert [text for text in problems if not text.startswith("data:")] == []


def unfold(page):
    page.evaluate("document.querySelectorAll('details').forEach(each => { each.open = true; })")


# The page makes a part when its own observer sees the picture. Observers are called in the order in
# which they were made, so when this one is called, the part is there.
SCROLL_AND_WAIT = """image => new Promise(resolve => {
    image.scrollIntoView();
    const observer = new IntersectionObserver(() => { observer.disconnect(); resolve(); });
    observer.observe(image);
})"""


def show_part(page, selector):
    """Scroll until the part is made, and return it."""
    unfold(page)
    pictures = page.locator("img[data-part]")
    for place in range(pictures.count()):
        pictures.nth(place).evaluate(SCROLL_AND_WAIT)
        if page.locator(selector).count():
            break
    part = page.locator(selector).first
    part.scroll_into_view_if_needed()
    return part


VALUES = ["92.17 ± 0.12%", "–", "1,234", "+1.23", "-4.5", "101 s", "2 h 5 min", "0.5", "−7"]
VALUES += ["less than 0.01", "0.01", "a tie", "< 0.01"]


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """The address of a page with one table."""
    lines = [f"| name{number} | {value} |" for number, value in enumerate(VALUES)]
    text = "\n".join(["| name | value |", "| --- | ---: |", *lines, "", "![<b>](a.svg)"])
    file = tmp_path_factory.mktemp("table") / "page.html"
    file.write_text(markdown_to_page(text, "t", {}))
    return file.as_uri()


def column(page, number):
    return page.locator(f"tbody tr > :nth-child({number})").all_inner_texts()


def test_a_column_is_sorted_by_its_numbers_and_dashes_are_last(visit, table):
    page = visit(table)
    header = page.get_by_role("columnheader", name="value")
    small = ["a tie", "less than 0.01", "< 0.01", "0.01"]
    large = ["0.5", "+1.23", "92.17 ± 0.12%", "101 s", "1,234", "2 h 5 min"]
    ascending = ["−7", "-4.5", *small, *large]
    equal = {"less than 0.01": "< 0.01", "< 0.01": "less than 0.01"}  # these keep their order
    descending = [equal.get(value, value) for value in reversed(ascending)]
    for order, expected in (
        ("ascending", [*ascending, "–"]),
        ("descending", [*descending, "–"]),
        ("none", VALUES),
    ):
        header.get_by_role("button").click()
        assert header.get_attribute("aria-sort") == order
        assert column(page, 2) == expected
        value_of_name = dict(zip(column(page, 1), column(page, 2), strict=True))
        assert value_of_name == {f"name{number}": value for number, value in enumerate(VALUES)}


def test_a_table_is_sorted_with_the_keyboard(visit, table):
    page = visit(table)
    page.keyboard.press("Tab")  # the region that scrolls
    page.keyboard.press("Tab")
    for key in ("Enter", "Space"):
        page.keyboard.press(key)
    assert column(page, 1) == [f"name{number}" for number in reversed(range(len(VALUES)))]
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    sorted_by = page.locator("th[aria-sort]").all_inner_texts()
    assert [text.strip() for text in sorted_by] == ["value"]
    outline = "getComputedStyle(document.activeElement).outlineStyle"
    assert page.evaluate(outline) == "solid"


def pixels_of(chart, variable):
    """The number of a chart's pixels in a colour of the style sheet."""
    return chart.evaluate(
        """(chart, variable) => {
            const style = getComputedStyle(document.documentElement);
            const wanted = parseInt(style.getPropertyValue(variable).trim().slice(1), 16);
            const canvas = chart.querySelector("canvas");
            const { width, height } = canvas;
            const { data } = canvas.getContext("2d").getImageData(0, 0, width, height);
            let count = 0;
            for (let i = 0; i < data.length; i += 4) {
                const color = (data[i] << 16) | (data[i + 1] << 8) | data[i + 2];
                count += color === wanted && data[i + 3] === 255;
            }
            return count;
        }""",
        variable,
    )


def test_rows_are_switched_off_and_on(visit, report):
    page = visit(report)
    chart = show_part(page, ALL_ROWS)
    assert chart.get_by_role("checkbox").count() == len(RUNS)
    winner = chart.get_by_role("checkbox", name="winner")
    color = f"--row{list(RUNS).index('winner')}"
    before = pixels_of(chart, color)
    assert before > 5  # the line is dotted
    winner.focus()
    page.keyboard.press("Space")
    assert not winner.is_checked()
    assert pixels_of(chart, color) == 0
    winner.check()
    assert pixels_of(chart, color) == before
    chart.get_by_role("button", name="Show none").click()
    assert not any(box.is_checked() for box in chart.get_by_role("checkbox").all())
    chart.get_by_role("button", name="Show all").click()
    assert pixels_of(chart, color) == before


def values_at(epoch, attribute, text="{:.2%}"):
    """Row -> the text of its mean over seeds, and of the range if there are several seeds."""
    texts = {}
    for row in BY_VALIDATION:
        values = [getattr(run, attribute)[epoch - 1 :][:1] for run in RUNS[row].values()]
        values = [value[0] for value in values if value]
        texts[row] = text.format(np.mean(values)) if values else "–"
        if len(values) > 1:
            texts[row] += f" ({text.format(min(values))} to {text.format(max(values))})"
    return texts


def test_the_pointer_shows_values(visit, report):
    page = visit(report)
    chart = show_part(page, ALL_ROWS)
    area = chart.locator(".u-over").bounding_box()
    for epoch in (3, 6):
        x = area["x"] + area["width"] * (epoch - 1) / 6  # the longest row has 7 epochs
        page.mouse.move(min(x, area["x"] + area["width"] - 1), area["y"] + 50)
        assert chart.locator(".epoch").inner_text() == f"epoch {epoch}"
        shown = dict(zip(BY_VALIDATION, chart.locator(".value").all_inner_texts(), strict=True))
        assert shown == values_at(epoch, "val")
    page.mouse.move(1, 1)
    assert set(chart.locator(".value").all_inner_texts()) == {""}


def test_arrow_keys_tell_values(visit, report):
    page = visit(report)
    chart = show_part(page, ALL_ROWS)
    slider, spoken = chart.get_by_role("slider"), chart.get_by_role("status")
    assert slider.get_attribute("aria-label").startswith("Validation accuracy by epoch")
    slider.focus()
    for key, epoch in (("ArrowRight", 1), ("ArrowRight", 2), ("End", 7), ("ArrowLeft", 6)):
        page.keyboard.press(key)
        shown_text = ", ".join(f"{row} {text}" for row, text in values_at(epoch, "val").items())
        assert spoken.inner_text() == f"Epoch {epoch}: {shown_text}"
        assert slider.get_attribute("aria-valuenow") == str(epoch)
    chart.get_by_role("combobox").select_option(label="training accuracy")
    slider.focus()
    page.keyboard.press("Home")
    assert f"plain {values_at(1, 'train')['plain']}" in spoken.inner_text()
    chart.get_by_role("checkbox", name="plain").uncheck()
    slider.focus()
    page.keyboard.press("ArrowRight")
    assert "plain" not in spoken.inner_text()
    assert "winner" in spoken.inner_text()


def test_a_cell_opens_its_images_and_gives_the_focus_back(visit, report):
    page = visit(report)
    matrix = show_part(page, "table.confusion")
    counts = invented.confusion("winner", 5)  # of the best run
    for label, row in enumerate(matrix.locator("tbody tr").all()):
        assert row.locator("td").all_inner_texts() == [str(count) for count in counts[label]]
    cell = matrix.get_by_role("button", name=f"{counts[2, 1]} of cow classified as bee")
    cell.focus()
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog")
    assert f"cow, classified as bee: 1 of {counts[2, 1]} images" in dialog.inner_text()
    picture = dialog.get_by_role("img", name="Image of cow")
    picture.wait_for()
    place = 7  # of (2, 1) among the cells without the diagonal
    chance = np.linspace(0.95, 0.4, 12)[place]
    assert f"predicted bee {chance:.2%}" in dialog.inner_text()
    pixel = "canvas => [...canvas.getContext('2d').getImageData(16, 16, 1, 1).data]"
    assert np.abs(np.subtract(picture.evaluate(pixel)[:3], COLORS[place])).max() < 6
    page.keyboard.press("Escape")
    assert not dialog.is_visible()
    assert cell.evaluate("cell => cell === document.activeElement")
    assert CLASSES[0] in page.locator("table.confusion thead").inner_text()


def test_without_script_pictures_and_tables_are_there(visit, report):
    page = visit(report, java_script_enabled=False)
    pictures = page.locator("img[data-part]")
    assert pictures.count() > 2
    folded = page.locator("details img[data-part]").count()
    visible = [picture.is_visible() for picture in pictures.all()]
    assert visible.count(True) >= len(visible) - folded
    assert page.locator("table").first.is_visible()
    assert page.locator("button, canvas, input").count() == 0


def test_print_has_the_static_pictures_and_opens_what_is_folded(visit, report):
    page = visit(report)
    chart = show_part(page, ALL_ROWS)
    still = page.locator("img.still")
    assert chart.is_visible() and not still.first.is_visible()
    page.evaluate("""() => {
        const details = document.createElement("details");
        const text = Object.assign(document.createElement("p"), { textContent: "folded text" });
        details.append(document.createElement("summary"), text);
        document.querySelector("main").append(details);
    }""")
    folded = page.get_by_text("folded text")
    assert not folded.is_visible()
    page.emulate_media(media="print")
    assert not chart.is_visible()
    assert all(picture.is_visible() for picture in still.all())
    assert folded.bounding_box()["height"] > 0
    page.emulate_media(media="screen")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")  # for browsers without that style
    assert folded.is_visible()
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert not folded.is_visible()


def test_a_phone_scrolls_no_page_sideways_and_the_dark_page_has_its_colours(visit, report):
    page = visit(report, color_scheme="dark")
    page.set_viewport_size({"width": 390, "height": 800})
    chart = show_part(page, ALL_ROWS)
    show_part(page, "table.confusion")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert chart.bounding_box()["width"] <= 390
    assert pixels_of(chart, "--row0") > 50
    color = page.evaluate("getComputedStyle(document.documentElement).getPropertyValue('--row0')")
    page.emulate_media(color_scheme="light")
    assert pixels_of(chart, "--row0") > 50
    assert color != page.evaluate(
        "getComputedStyle(document.documentElement).getPropertyValue('--row0')"
    )


def test_hostile_names_are_text(visit, tmp_path):
    name = "</script><img src=x onerror=alert(1)><script>alert(2)</script>"
    curves = {"epochs": [1], "chosen": [1], "val_accuracy": [[0.5]]}
    chart = {"kind": "chart", "quantity": "accuracy", "lines": [{"label": name, "curves": 0}]}
    names = [name, "b"]
    confusion = {"kind": "confusion", "names": names, "matrix": [[1, 0], [0, 1]], "cells": []}
    value = {"curves": [curves], "parts": {"part0": chart, "part1": confusion}}
    data = PageData(json_for_html(value), {"a.svg": "part0", "b.svg": "part1"})
    blank = b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>'
    file = tmp_path / "page.html"
    text = "![a](a.svg)\n\n![b](b.svg)\n"
    file.write_text(markdown_to_page(text, "t", {"a.svg": blank, "b.svg": blank}, data))
    page = visit(file.as_uri())
    for selector in (ALL_ROWS, "table.confusion"):
        assert name in show_part(page, selector).inner_text()
    assert page.locator("img").count() == 2
    page.locator(".plot").focus()
    page.keyboard.press("ArrowRight")
    assert re.fullmatch(r"Epoch 1: .*alert\(1\).* 50\.00%", page.get_by_role("status").inner_text())
