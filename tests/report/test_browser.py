"""The page in a real browser: Chromium without a window, which reads the file and runs its script."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from selflong.results import Results

BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium: install Debian's `chromium`")

CHECKS = """
<pre id="found"></pre><script>
const first = table => [...table.tBodies[0].rows].map(row => row.cells[0].innerText.trim());
const table = document.querySelector("#table-corpus table");
const column = [...table.tHead.rows[0].cells].findIndex(head => head.innerText.trim() === "Rows");
const number = row => parseFloat(row.cells[column].innerText.replace(/,/g, ""));
const numbers = () => [...table.tBodies[0].rows].map(number);
const press = () => table.tHead.rows[0].cells[column].querySelector("button").click();
press(); const rising = numbers(); const order = table.tHead.rows[0].cells[column].getAttribute("aria-sort");
press(); const falling = numbers();
const link = document.querySelector("a.answers");
const target = document.getElementById(link.hash.slice(1)); const folded = !target.open;
location.hash = link.hash; dispatchEvent(new Event("hashchange"));
dispatchEvent(new Event("beforeprint"));
document.getElementById("found").textContent = JSON.stringify({
  rising, falling, order, folded, unfolded: target.open, answers: target.querySelectorAll("h4").length,
  images: [...document.images].map(image => [image.alt, image.naturalWidth > 0]),
  wide: document.documentElement.scrollWidth, window: innerWidth,
  printed: [...document.querySelectorAll("section details")].every(part => part.open),
});
</script></body>
"""


def browser(folder: Path, page: Path, *options: str) -> subprocess.CompletedProcess[str]:
    assert BROWSER is not None
    return subprocess.run(
        [
            BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr",
            "--host-resolver-rules=MAP * ~NOTFOUND", f"--user-data-dir={folder / 'profile'}", *options,
            page.as_uri(),
        ],
        capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip


@pytest.fixture(scope="module")
def checked(
    report: Results, tmp_path_factory: pytest.TempPathFactory
) -> tuple[dict[str, object], str]:
    """What a script found in the narrowest window that Chromium makes, and the browser's log."""
    folder = tmp_path_factory.mktemp("browser")
    page = report.page.with_name("checked.html")
    page.write_text(report.page.read_text().replace("</body>", CHECKS))
    done = browser(folder, page, "--window-size=500,900", "--dump-dom")
    page.unlink()
    found = re.search(r'<pre id="found">(.*?)</pre>', done.stdout, flags=re.DOTALL)
    assert found, done.stdout[-2000:]
    return json.loads(found[1]), done.stderr


def test_it_opens_without_a_network_and_without_an_error(
    checked: tuple[dict[str, object], str],
) -> None:
    found, log = checked
    assert "CONSOLE" not in log
    images = found["images"]
    assert isinstance(images, list) and len(images) > 5
    assert all(alternative and drawn for alternative, drawn in images)


def test_tables_sort_by_number_both_ways(checked: tuple[dict[str, object], str]) -> None:
    found, _ = checked
    rising = found["rising"]
    assert isinstance(rising, list) and len(set(rising)) > 1
    assert rising == sorted(rising) and found["falling"] == rising[::-1]
    assert found["order"] == "ascending"


def test_a_score_leads_to_its_worst_answers(checked: tuple[dict[str, object], str]) -> None:
    found, _ = checked
    assert found["folded"] and found["unfolded"]
    assert isinstance(found["answers"], int) and found["answers"] > 0


def test_it_reads_on_a_phone_and_unfolds_for_paper(checked: tuple[dict[str, object], str]) -> None:
    found, _ = checked
    assert found["wide"] <= found["window"]  # type: ignore[operator]
    assert found["printed"]


def test_it_prints(report: Results, tmp_path: Path) -> None:
    paper = tmp_path / "page.pdf"
    browser(tmp_path, report.page, f"--print-to-pdf={paper}")
    assert paper.read_bytes().startswith(b"%PDF") and paper.stat().st_size > 20_000
