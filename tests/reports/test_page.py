"""The page of a run: what it says, that it can be made again from it, and how it behaves in a real browser."""

import re
import shlex
import shutil
import struct
from html.parser import HTMLParser
from pathlib import Path

import pytest

from bench.suites import load_suite
from reports.comparison import ReportError
from reports.page import to_page
from reports.reproduce import to_commands, to_simulation, to_suite
from results.samples import Holder
from tests.reports.browser import Browser

ARGUMENTS = ["peakbench", "report", "page", "--run", "runs/my run"]
ROOT = Path(__file__).parents[2]
CHROMIUM = shutil.which("chromium")
AXE = ROOT / ".nox" / "axe" / "node_modules" / "axe-core" / "axe.min.js"
SCRIPT = "<script>document.title = 'taken'</script>"


@pytest.fixture(scope="module")
def rows(suite, simulated):
    """The suite, a case that ran out of memory, one that nobody can trust, and what holds some peaks."""
    held = (Holder(category="activations", module=0, bytes=2**30), Holder(category="temporary", module=1, bytes=2**29))
    return [
        *suite,
        simulated("dgl", 3, status="out_of_memory", phase="forward of unit layer2.1", message="1.00 GiB too much"),
        simulated(SCRIPT, 2, gib=1.5, peak_holders=held),
    ]


@pytest.fixture(scope="module")
def text(rows):
    return to_page(rows, ARGUMENTS)


class Outline(HTMLParser):
    """Headings, identifiers, references and tables of a page."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.headings, self.texts, self._open = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag in ("h1", "h2", "h3"):
            self.headings.append(int(tag[1]))

    def handle_data(self, text):
        self.texts.append(text)


def test_the_page_has_every_report_its_environment_and_its_making(text, rows):
    outline = Outline(text)
    ids = {attributes["id"] for _, attributes in outline.tags if "id" in attributes}
    assert {"overhead", "memory", "holders", "splits", "tradeoff", "table10", "table12"} <= ids
    links = [attributes["href"] for tag, attributes in outline.tags if tag == "a"]
    assert {link.removeprefix("#") for link in links} <= ids
    said = "".join(outline.texts)
    assert f"{len(rows) - 1} of {len(rows)} rows finished" in said
    assert "dgl K=3 (simulated): out of memory in forward of unit layer2.1: 1.00 GiB too much" in said
    assert "imagenet: no case of this run is on imagenet" in said
    assert "resnet110 on cifar10, batch 1024: end-to-end training (E2E) peaks at 8.10 GiB" in said
    assert "peakbench report page --run 'runs/my run'" in said
    for words in ("EPYC", "any CUDA device", "2.15.0", "3.11.7"):
        assert words in said


def test_headings_go_down_one_level_at_a_time_and_every_table_has_a_caption(text):
    outline = Outline(text)
    assert outline.headings[0] == 1
    assert outline.headings.count(1) == 1
    assert all(after - before <= 1 for before, after in zip(outline.headings, outline.headings[1:], strict=False))
    tags = [tag for tag, _ in outline.tags]
    assert tags.count("table") == tags.count("caption") == tags.count("thead") > 10
    assert ("html", {"lang": "en"}) in outline.tags
    assert all(attributes.get("scope") for tag, attributes in outline.tags if tag == "th")


def test_the_page_asks_for_nothing_and_what_a_method_is_called_is_no_markup(text):
    outline = Outline(text)
    assert not [attributes for _, attributes in outline.tags if {"src", "style", "onclick"} & {*attributes}]
    assert [tag for tag, _ in outline.tags].count("script") == 1
    assert "&lt;script&gt;" in text
    assert not re.search(r"https?:|url\(|@import", text)


def test_many_workloads_are_counted_in_the_title_and_columns_without_figures_left_out(simulated):
    rows = [simulated("e2e", gib=1, network=f"cifar_resnet{depth}") for depth in (8, 14, 20, 26)]
    text = to_page(rows, ARGUMENTS)
    assert "<h1>cifar_resnet14 on cifar10, cifar_resnet20 on cifar10 and 2 more</h1>" in text
    assert text.count("cifar_resnet8 on cifar10, batch 1024: end-to-end training") == 1
    assert "published</th>" not in text


def test_a_page_of_nothing_is_refused():
    with pytest.raises(ReportError, match="the run holds no measurements"):
        to_page([], ARGUMENTS)


def summary(case):
    where = (case.network, case.dataset, case.height_and_width, case.optimizer)
    return (case.method, *where, case.module_count, case.batch_size, case.split_policy)


def test_the_cases_of_a_run_can_be_run_again(suite, imagenet_rows, cityscapes_rows, tmp_path):
    """The suite file that the page shows gives the cases of the run, simulated and measured, and no others."""
    known = [*suite, *imagenet_rows, *cityscapes_rows[1:]]
    path = tmp_path / "again.toml"
    path.write_text(to_suite(known))
    again = load_suite(str(path))
    for kind, cases in (("simulated", again.simulated_cases()), ("measured", again.measured_cases("cpu"))):
        rows = {summary(row.case) for row in known if row.provenance == kind}
        found = [summary(case) for case in cases]
        assert len(found) == len(set(found)) == len(rows)
        assert set(found) == rows


def test_a_case_can_be_simulated_again_by_its_command(simulated, monkeypatch):
    from typer.main import get_command  # noqa: PLC0415

    from bench.__main__ import app  # noqa: PLC0415

    options = {"precision": "bfloat16", "tf32": False, "workspace": "table", "allocator": "expandable_segments:True"}
    where = {"network": "resnet50", "dataset": "imagenet", "image_size": 128, "batch_size": 64}
    row = simulated("contsup[R1E]", 4, gib=1, **where, **options)
    words = shlex.split(to_simulation(row))
    assert words[:3] == ["peakbench", "simulate", "contsup[R1E]"]
    command = get_command(app).commands["simulate"]
    options = command.make_context("simulate", words[2:]).params
    found = (options["network"], options["modules"], options["batch"], options["precision"], options["tf32"])
    assert found == ("resnet50@128", 4, 64, "bfloat16", False)
    assert (options["workspace"], options["allocator"]) == ("table", "expandable_segments:True")


def test_the_commands_name_the_commit_and_torch(simulated):
    commands = to_commands([simulated("e2e", gib=1, git_commit="abc", git_dirty=True, torch_version="2.15.0+cu132")])
    assert commands[0].startswith("git checkout abc  # and changes")
    assert commands[1] == "python3 -m pip install . torch==2.15.0"


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    if not CHROMIUM:
        pytest.skip("Chromium is not installed: apt-get install chromium")
    with Browser(CHROMIUM, tmp_path_factory.mktemp("profile")) as browser:
        yield browser


@pytest.fixture(scope="module")
def page(text, tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(text, encoding="utf-8")
    return path


def column(browser, head):
    """Texts of the column of the first table whose header begins with these words."""
    return browser.run(
        "(() => { const table = document.querySelector('table');"
        "const heads = [...[...table.tHead.rows].at(-1).cells];"
        f"const place = heads.findIndex((head) => head.textContent.startsWith({head!r}));"
        "return [...table.tBodies[0].rows].map((row) => row.cells[place].textContent); })()"
    )


def test_the_page_opens_without_a_request_or_a_complaint(browser, page):
    browser.open(page)
    assert browser.complaints == ([], [page.as_uri()], [])
    assert browser.run("document.title").startswith("peakbench: resnet32 on cifar10")
    assert browser.run("document.fonts.size") == 0


def test_the_page_forbids_what_is_not_its_own(browser, page):
    browser.open(page)
    browser.run(
        "const alien = document.createElement('script'); alien.textContent = 'window.alien = 1';"
        "document.body.append(alien); new Image().src = 'http://localhost:9/';"
    )
    assert browser.run("window.alien === undefined")
    blocked = [event["params"].get("blockedReason") for event in browser.events if event["method"].endswith("Failed")]
    assert blocked == ["csp"]
    assert any("Content Security Policy" in line for line in browser.complaints[0])


def test_tables_are_sorted_by_keyboard(browser, page):
    """By numbers and not by texts, up and then down, with what has no value last; the header says which."""
    browser.open(page)
    sort = "document.querySelectorAll('table')[0].querySelector('thead tr:last-child th:nth-child(%d) button')"
    for times, (key, down) in enumerate((("Enter", False), (" ", True))):
        browser.run(f"{sort % 3}.focus()")
        browser.press(key)
        state = browser.run(f"{sort % 3}.closest('th').getAttribute('aria-sort')")
        assert state == ("descending" if down else "ascending"), times
        values = [float(text) for text in column(browser, "peak") if text[0].isdigit()]
        assert values == sorted(values, reverse=down)
        assert len({*values}) > 3
    browser.run(f"{sort % 1}.click()")
    names = column(browser, "Method")
    assert names == sorted(names, key=str.lower)
    assert browser.run("document.querySelectorAll('[aria-sort]').length") == 1


def test_lines_that_belong_together_stay_together(browser, page):
    browser.open(page)
    lines = (
        "[...document.querySelectorAll('#table12 tbody')].map((body) => [...body.rows].map((row) => "
        "row.cells[0].textContent))[0]"
    )
    before = browser.run(lines)
    browser.run("document.querySelector('#table12 thead tr:last-child button').click()")
    after = browser.run(lines)
    assert sorted(before) == sorted(after)
    assert before != after
    for lines_of in (before, after):
        firsts = [place for place, name in enumerate(lines_of) if not name.startswith(" ")]
        assert all(lines_of[place + 1] == "  x E2E" for place in firsts)


def test_points_say_their_values_under_the_mouse_and_by_keyboard(browser, page):
    browser.open(page)
    place = browser.run(
        "(() => { const point = document.querySelector('#splits .point'); point.scrollIntoView({block: 'center', "
        "behavior: 'instant'}); const box = point.getBoundingClientRect(); return [box.x + box.width / 2, box.y + "
        "box.height / 2]; })()"
    )
    tip = (
        "(() => { const tip = document.querySelector('#splits .tip'); return tip.hidden ? null : tip.textContent; })()"
    )
    assert browser.run(tip) is None
    browser.point_at(*place)
    assert re.fullmatch(r".+, K=2: \d\.\d\d GiB, \d+\.\d% of E2E", browser.run(tip))
    browser.point_at(0, 0)
    assert browser.run(tip) is None
    browser.run("document.querySelector('#splits .point').focus()")
    first = browser.run(tip)
    browser.press("ArrowRight")
    assert browser.run(tip) not in (None, first)
    browser.press("ArrowLeft")
    assert browser.run(tip) == first
    browser.press("Escape")
    assert browser.run(tip) is None
    assert browser.run("document.querySelectorAll('#splits .chart:first-child [tabindex=\"0\"]').length") == 1


@pytest.mark.parametrize("width", [320, 360, 1280])
def test_nothing_is_wider_than_the_screen_but_tables_that_scroll(browser, page, width):
    browser.open(page, width=width)
    assert browser.run("document.documentElement.scrollWidth") <= width
    small = browser.run(
        "[...document.querySelectorAll('a, button, summary')].filter((each) => each.offsetParent && "
        "each.getBoundingClientRect().height < 24).map((each) => each.textContent)"
    )
    assert small == []


def test_printed_tables_fit_their_page(browser, page, tmp_path):
    browser.open(page, width=703)  # A4 within its margins
    browser.call("Emulation.setEmulatedMedia", media="print")
    wide = browser.run(
        "[...document.querySelectorAll('table')].map((table) => [table.getBoundingClientRect().width, "
        "table.caption.textContent, table.matches('.size-3, .size-4, .size-5')])"
    )
    broad = 1031  # and turned
    assert [entry for entry in wide if entry[0] > (broad if entry[2] else 703)] == []
    browser.print_pdf(tmp_path / "page.pdf")
    assert (tmp_path / "page.pdf").read_bytes().startswith(b"%PDF")


CONTRAST = """
(() => {
  const channels = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((c) => c / 255)
    .map((c) => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
    .reduce((sum, c, place) => sum + c * [0.2126, 0.7152, 0.0722][place], 0);
  const behind = (node) => {
    for (; node; node = node.parentElement) {
      const colour = channels(getComputedStyle(node).backgroundColor);
      if (colour.length < 4 || colour[3] > 0) return colour;
    }
    return [255, 255, 255];
  };
  const found = new Set();
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const node = walker.currentNode.parentElement;
    if (!walker.currentNode.textContent.trim() || node.closest("script")) continue;
    const style = getComputedStyle(node);
    const ink = channels(node.namespaceURI.endsWith("svg") ? style.fill : style.color);
    const [high, low] = [light(ink), light(behind(node))].sort((a, b) => b - a);
    if ((high + 0.05) / (low + 0.05) < 4.5) found.add(walker.currentNode.textContent.trim().slice(0, 30));
  }
  return [...found];
})()
"""


@pytest.mark.parametrize("media", ["light", "dark"])
def test_every_text_stands_out_from_what_is_behind_it(browser, page, media):
    browser.open(page, media=media)
    assert browser.run(CONTRAST) == []
    dark = browser.run("getComputedStyle(document.body).backgroundColor")
    assert (dark == "rgb(255, 255, 255)") == (media == "light")


def test_everything_that_is_reached_by_keyboard_has_a_name(browser, page):
    browser.open(page)
    nodes = browser.call("Accessibility.getFullAXTree")["nodes"]
    roles = ("button", "link", "region", "image", "table", "group", "navigation")
    nameless = [
        node["role"]["value"]
        for node in nodes
        if node.get("role", {}).get("value") in roles[:4] and not node.get("ignored") and not node["name"].get("value")
    ]
    assert nameless == []
    browser.press("Tab")
    assert browser.run("document.activeElement.textContent") == "Skip to the tables"
    assert browser.run("document.activeElement.getBoundingClientRect().left") >= 0


@pytest.mark.skipif(not AXE.exists(), reason="axe-core is not installed: npm install --prefix .nox/axe axe-core")
@pytest.mark.parametrize(("width", "media"), [(1280, "light"), (1280, "dark"), (360, "light")])
def test_axe_finds_nothing(browser, page, width, media):
    browser.open(page, width=width, media=media)
    browser.run(f"{AXE.read_text()};0")
    found = browser.run("axe.run(document).then((all) => all.violations.map((each) => [each.id, each.nodes[0].html]))")
    assert found == []


def test_a_picture_of_the_page_is_not_blank(browser, page, tmp_path):
    browser.open(page, width=360)
    browser.take_picture(tmp_path / "phone.png")
    content = (tmp_path / "phone.png").read_bytes()
    width, height = struct.unpack(">II", content[16:24])
    assert 340 <= width <= 360
    assert height > 5000
    assert len(content) > 100_000
