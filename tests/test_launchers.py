"""What a launcher loads before it works: a job of seconds does not wait for libraries that it never uses."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
HEAVY = {
    "datasets", "deepspeed", "lm_eval", "matplotlib", "nltk", "pandas", "scipy", "seaborn",
    "sentence_transformers", "sklearn", "torch", "transformers", "vllm",
}  # fmt: skip
"""Each takes from a third of a second to several seconds to load."""

MODEL = frozenset({"torch", "transformers"})
VECTORS = frozenset({"torch"})
DRAWING = frozenset({"matplotlib", "pandas", "scipy", "seaborn"})
# A launcher that is not named here loads none of them before it has read its arguments.
MAY_LOAD = {
    "adjust_rope": MODEL,
    "load_model": MODEL,
    "train_stage": VECTORS,
    "embed_documents": VECTORS,
    "build_index": VECTORS,
    "measure_retrieval": VECTORS,
    "retrieve": VECTORS,
    "draw_figures": DRAWING,
    "draw_workflow": DRAWING,
    "write_page": DRAWING,
    "write_tables": DRAWING,
}

LOAD = """
import json, os, runpy, sys
sys.path.insert(0, os.path.dirname(sys.argv[1]))
for script in sys.argv[1:]:
    sys.argv = [script, "--help"]
    try:
        runpy.run_path(script, run_name="__main__")
    except SystemExit as ended:
        assert not ended.code, (script, ended.code)
print(json.dumps([name for name in sys.modules if "." not in name]), file=sys.stderr)
"""


def launchers() -> list[str]:
    """Of every rule."""
    rules = "".join(path.read_text() for path in (ROOT / "rules").glob("*.smk"))
    return sorted(set(re.findall(r"scripts/(\w+)\.py", rules)))


def loaded(names: list[str]) -> set[str]:
    """Heavy libraries in a new Python that ran these launchers as far as their help."""
    scripts = [str(ROOT / "scripts" / f"{name}.py") for name in names]
    ran = subprocess.run(
        [sys.executable, "-c", LOAD, *scripts],
        cwd=ROOT, check=True, capture_output=True, text=True,
    )  # fmt: skip
    return HEAVY & set(json.loads(ran.stderr.splitlines()[-1]))


@pytest.mark.parametrize("allowed", [frozenset(), VECTORS, MODEL, DRAWING], ids=sorted)
def test_a_launcher_loads_no_library_that_its_work_does_not_need(allowed: frozenset[str]) -> None:
    names = [name for name in launchers() if MAY_LOAD.get(name, frozenset()) == allowed]
    assert names
    assert loaded(names) <= allowed


def test_every_named_launcher_belongs_to_a_rule() -> None:
    assert set(MAY_LOAD) <= set(launchers())
