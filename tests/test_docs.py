"""The documentation site: it builds without a warning, and every key of recipe and site is in it."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from selflong import reference
from selflong.recipe.prompts import PromptRules
from selflong.recipe.recipe import Recipe
from selflong.recipe.site import Site

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", folder]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr[-3000:]
    return folder


def test_every_key_is_in_the_site(site: Path) -> None:
    page = (site / "settings" / "index.html").read_text()
    for root in (Recipe, Site):
        for section in reference.sections(root):
            (part,) = re.findall(
                rf'<h3 id="{section.__name__.lower()}">.*?(?=<h[23] |</article>)',
                page,
                flags=re.DOTALL,
            )
            for key in set(section.model_fields) - {"assumed"}:
                assert f"<code>{key}</code>" in part, f"{section.__name__}.{key}"


def test_every_key_has_a_sentence() -> None:
    missing = [
        f"{section.__name__}.{key}"
        for root in (Recipe, Site, PromptRules)
        for section in reference.sections(root)
        for key in set(section.model_fields) - {"assumed"}
        if not reference.sentence(section, key).endswith((".", "?", ":", ")"))
    ]
    assert missing == []


def test_every_message_is_in_the_site(site: Path) -> None:
    page = (site / "troubleshooting" / "index.html").read_text()
    assert "is not downloaded yet" in page
    assert page.count("<li><code>") > 150


def test_the_site_loads_nothing_from_elsewhere(site: Path) -> None:
    for page in site.rglob("*.html"):
        loaded = re.findall(
            r'<(?:script|link|img)[^>]+(?:src|href)="(https?://[^"]+)', page.read_text()
        )
        assert loaded == [], page


def test_a_key_has_its_type_its_default_and_its_sentence() -> None:
    page = reference.settings()
    assert (
        "| `minimum_ratio` | number, at least 0 and at most 1 | `0.1` | Learning rate at the end"
        in page
    )
    assert "| `device` | `cpu`, `cuda` | `cpu` |" in page
    assert "| `sources` | list of [PackageDocuments](#packagedocuments)" in page


def test_scale_tells_what_does_not_fit() -> None:
    rows = [
        row
        for row in reference.scale_of_training().splitlines()
        if row.startswith("| 70B | 4M | 8 ")
    ]
    assert len(rows) == 1 and "**no**" in rows[0]


def test_speed_says_each_stage_by_each_kernel() -> None:
    rows = reference.speed_of_training().splitlines()[2:]
    assert [row.split(" | ")[0] for row in rows if "flash-attn 3" in row] == [
        "| 262,144", "| 524,288", "| 1,048,576",
    ]  # fmt: skip
    assert len(rows) == 6
