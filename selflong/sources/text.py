"""Text as it comes from outside."""


def whole_characters(text: str) -> str:
    """The text with U+FFFD in place of half a surrogate pair, which JSON can carry and UTF-8 cannot."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
