"""Keys and tokens, which lie in environment variables and are shown nowhere."""

import os
import re

from selflong.job import UserError


def read_key(variable: str) -> str:
    """What an environment variable holds, empty where it is not set; UserError where it can be no key.

    A line end in it would begin another line of a request.
    """
    key = os.environ.get(variable, "").strip()
    if key and not re.fullmatch(r"[!-~]+", key):
        raise UserError(
            f"the environment variable {variable} holds a character that no key has (a line end, a space, or "
            "a quotation mark that a word processor made): copy the key again"
        )
    return key
