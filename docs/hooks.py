"""What the site takes from the code: whole pages, and tables where a page has `<!-- name -->`."""

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from selflong import reference

PAGES = {
    "settings.md": reference.settings,
    "files.md": reference.files,
    "troubleshooting.md": reference.messages,
}
TABLES = {
    "<!-- scale of retrieval -->": reference.scale_of_retrieval,
    "<!-- scale of training -->": reference.scale_of_training,
    "<!-- speed of training -->": reference.speed_of_training,
}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are made."""
    for name, page in PAGES.items():
        files.append(File.generated(config, name, content=page()))
    return files


def on_page_markdown(markdown: str, **_: object) -> str:
    """Fill in the tables that are made."""
    for mark, table in TABLES.items():
        if mark in markdown:
            markdown = markdown.replace(mark, table())
    return markdown
