"""A sample of the English Wikipedia."""

import bz2
import re
from collections.abc import Iterator
from typing import Any
from xml.etree import ElementTree

from selflong.packages import package_folder, package_version

WIKIPEDIA_FILE = (
    "test/test_data/enwiki-latest-pages-articles1.xml-p000000010p000030302-shortened.bz2"
)
WIKIPEDIA_APPENDICES = {
    "References",
    "External links",
    "See also",
    "Further reading",
    "Notes",
    "Bibliography",
    "Footnotes",
    "Sources",
}
UNREAD_TAGS = {"ref", "table", "gallery", "math", "timeline"}
OTHER_NAMESPACES = r"\s*:?[A-Za-z-]{2,12}:\S"  # files, categories, other languages


def _article_text(markup: str) -> str:
    """Wikipedia's markup as plain text, without tables, pictures, footnotes and closing lists."""
    import mwparserfromhell

    lines = (line.strip() for line in "".join(_words(mwparserfromhell.parse(markup))).splitlines())
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()


def _words(code: Any) -> Iterator[str]:
    """What a reader of the page reads, in one pass over the parsed markup."""
    from mwparserfromhell.nodes import Heading, Tag, Template, Wikilink

    in_appendix = False
    for node in code.nodes:
        if isinstance(node, Heading) and node.level == 2:
            in_appendix = node.title.strip_code().strip() in WIKIPEDIA_APPENDICES
        if in_appendix or isinstance(node, Template):
            continue
        if isinstance(node, Wikilink):
            if not re.match(OTHER_NAMESPACES, str(node.title)):
                yield from _words(node.text or node.title)
        elif isinstance(node, Tag):
            if str(node.tag) not in UNREAD_TAGS and node.contents is not None:
                yield from _words(node.contents)
        else:
            yield str(node.__strip__(normalize=True) or "").replace("\xa0", " ")


def encyclopedia() -> Iterator[dict[str, Any]]:
    """The sample of the English Wikipedia that gensim carries for its tests."""
    path = package_folder("gensim") / WIKIPEDIA_FILE
    dump = package_version("gensim")
    with bz2.open(path) as stream:
        for _, page in ElementTree.iterparse(stream):
            if not page.tag.endswith("}page"):
                continue
            space = page.tag.removesuffix("page")
            markup = page.findtext(f"{space}revision/{space}text") or ""
            title = page.findtext(f"{space}title") or ""
            if page.findtext(f"{space}ns") == "0" and not markup.lower().startswith("#redirect"):
                yield {
                    "id": f"encyclopedia:{page.findtext(f'{space}id')}",
                    "text": f"{title}\n\n{_article_text(markup)}",
                    "dump": dump,
                    "url": f"https://en.wikipedia.org/wiki/{title.replace(' ', '_')}",
                    "file_path": path.name,
                }
            page.clear()
