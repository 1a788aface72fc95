"""HELMET's own scores of made answers: run by its Python in its checkout, answers in, scores out, as JSON.

python authors.py < made.json
"""

import importlib
import json
import sys
import tempfile
from pathlib import Path
from typing import Any
from unittest.mock import Mock

sys.path[0] = str(Path.cwd())
sys.path.append(str(Path.cwd() / "scripts"))
eval_alce: Any = importlib.import_module("eval_alce")
eval_gpt4_longqa: Any = importlib.import_module("eval_gpt4_longqa")
eval_gpt4_summ: Any = importlib.import_module("eval_gpt4_summ")


def judged(script: Any, file: Path, samples: list[dict[str, Any]], replies: list[str]) -> Any:
    """What a script makes of samples where the judge says `replies`, and the prompts that it asks."""
    file.write_text(json.dumps({"data": samples, "averaged_metrics": {}}))
    model = Mock()
    model.generate_batch.return_value = [{"output": reply} for reply in replies]
    found = script.check_metrics(model, str(file), f"{file}.out")
    return {"data": found["data"], "prompts": model.generate_batch.call_args.kwargs["prompt"],
            "averaged_metrics": found["averaged_metrics"]}  # fmt: skip


def alce(file: Path, samples: list[dict[str, Any]]) -> Any:
    """The means that eval_alce.py writes."""
    file.write_text(json.dumps({"data": samples}))
    eval_alce.main(["--f", str(file), "--no_rouge"])
    return json.loads(Path(f"{file}.score").read_text())


def main() -> None:
    made = json.load(sys.stdin)
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder)
        found = {
            "longqa": judged(eval_gpt4_longqa, base / "narrativeqa.json", **made["longqa"]),
            "infbench": judged(eval_gpt4_summ, base / "infbench_sum.json", **made["infbench"]),
            "lexsum": judged(eval_gpt4_summ, base / "multi_lexsum.json", **made["lexsum"]),
            "asqa": alce(base / "alce_asqa.json", made["asqa"]),
            "qampari": alce(base / "alce_qampari.json", made["qampari"]),
        }
    Path(sys.argv[1]).write_text(json.dumps(found))


if __name__ == "__main__":
    main()
