"""What a site says of endpoints: addresses and names of variables without a secret in them."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from selflong.job import UserError
from selflong.recipe.loading import load_site
from selflong.recipe.site import RemoteServing

ROOT = Path(__file__).parents[2]
SECRET = "s3cret"


def load(tmp_path: Path, **changes: Any) -> RemoteServing:
    """A site whose generator is served as `changes` say."""
    site = yaml.safe_load((ROOT / "config.yaml").read_text())
    remote = {"kind": "remote", "url": "https://host/v1", "api_key_variable": "THE_KEY"}
    site["generators"] = {"gpt": {**remote, **changes}}
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(site))
    serving = load_site(path).generators["gpt"]
    assert isinstance(serving, RemoteServing)
    return serving


@pytest.mark.parametrize(
    "url",
    [
        "https://api.example.org/v1",
        "http://127.0.0.1:8000",
        "http://[::1]:8000/v1",
        "https://api.example.org/a/path/v1/",
    ],
)
def test_an_address(tmp_path: Path, url: str) -> None:
    assert load(tmp_path, url=url).url == url


MISTAKES: list[tuple[dict[str, Any], str]] = [
    ({"url": f"http://me:{SECRET}@host/v1"}, "user or password"),
    ({"url": f"http://{SECRET}@host/v1"}, "user or password"),
    ({"url": f"https://host/v1?key={SECRET}"}, "before '?'"),
    ({"url": f"https://host/v1#{SECRET}"}, "before '?'"),
    ({"url": "http://host:abc/v1"}, "port"),
    ({"url": "http://host:99999/v1"}, "port"),
    ({"url": "http://host:0/v1"}, "port"),
    ({"url": "http://[::1/v1"}, "brackets"),
    ({"url": f"http://host/{SECRET}\nHost: other"}, "printable"),
    ({"url": f"http://host/{SECRET}\u2028"}, "U+2028"),
    ({"url": f"host/{SECRET}"}, "http"),
    ({"url": f"ftp://host/{SECRET}"}, "http"),
    ({"url": "http://"}, "http"),
    ({"url": ""}, "http"),
    ({"url": "https://host/v1/chat/completions"}, "what stands before /chat/completions"),
    ({"url": "https://host/v1/completions/"}, "what stands before /completions"),
    ({"url": [SECRET]}, "http"),
    ({"api_key_variable": f"sk-proj-{SECRET}"}, "environment variable"),
    ({"api_key_variable": f"gsk_{SECRET}"}, "environment variable"),
    ({"api_key_variable": ""}, "environment variable"),
    ({"api_key_variable": {SECRET: 1}}, "environment variable"),
    ({"budget_usd": float("nan")}, "budget_usd"),
    ({"budget_usd": float("inf")}, "budget_usd"),
    ({"budget_usd": -1}, "budget_usd"),
    ({"budget_usd": 0}, "budget_usd"),
    ({"parameters": {"stop": None}}, "parameters"),
]


@pytest.mark.parametrize(("changes", "words"), MISTAKES)
def test_a_mistake_is_one_sentence_that_repeats_no_secret(
    tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(UserError, match=r"generators\.gpt") as mistake:
        load(tmp_path, **changes)
    said = str(mistake.value)
    assert words in said
    assert SECRET not in said
    assert "\n" not in said
