"""The key of an endpoint, read from the environment variable that the site names."""

from selflong.job import UserError
from selflong.keys import read_key
from selflong.recipe.site import RemoteServing


def api_key(serving: RemoteServing) -> str:
    """The key; UserError, which does not show it, where it is missing or none."""
    if key := read_key(serving.api_key_variable):
        return key
    raise UserError(
        f"the environment variable {serving.api_key_variable} that holds the API key of {serving.url} is "
        "empty: set it and start again"
    )
