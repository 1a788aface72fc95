"""HELMET's eval.py, run by HELMET's own Python in its checkout; nothing of this project is imported.

Three things are other than in `python eval.py`: models run without flash-attn where it is not installed,
vLLM's engine gets the settings of `--engine` as well, and ALCE's scores, which it writes as means alone, are
written for each answer, those of citations where `--citations` names the folder of the model that judges
them.
"""

import argparse
import functools
import importlib
import importlib.util
import json
import re
import sys
from pathlib import Path
from typing import Any

MOST_CITATIONS = 3
"""Of a sentence those that count, as eval_alce.py has it."""


def main() -> None:
    """Run eval.py with this process's arguments."""
    own, sys.argv[1:] = split(sys.argv[1:])
    sys.path[0] = str(Path.cwd())
    if own.engine is not None:
        vllm: Any = importlib.import_module("vllm")
        vllm.LLM = _with_settings(vllm.LLM, own.engine)
    models: Any = importlib.import_module("model_utils")
    if importlib.util.find_spec("flash_attn") is None:
        models.HFModel = _with_other_attention(models.HFModel)
    alce: Any = importlib.import_module("eval_alce")
    alce.main = lambda arguments: score_citations(alce, Path(arguments[1]), own.citations)
    importlib.import_module("eval").main()


def split(arguments: list[str]) -> tuple[argparse.Namespace, list[str]]:
    """`engine` and `citations`, None where they are not given, and eval.py's own arguments."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--engine", type=json.loads)
    parser.add_argument("--citations")
    return parser.parse_known_args(arguments)


def _with_other_attention(model: Any) -> Any:
    class Model(model):
        """Attention by torch, which computes the same."""

        def __init__(self, *arguments: Any, **settings: Any) -> None:
            super().__init__(*arguments, attn_implementation="sdpa", **settings)

    return Model


def _with_settings(engine: Any, settings: dict[str, Any]) -> Any:
    """vLLM's engine, whose `settings` stand before those that HELMET gives it."""

    @functools.wraps(engine, updated=())
    def make(*arguments: Any, **given: Any) -> Any:
        return engine(*arguments, **(given | settings))

    return make


def score_citations(alce: Any, path: Path, judge: str | None = None) -> None:
    """Write a list with the metrics of each of ALCE's answers, 0 to 1, beside HELMET's results.

    judge: folder of the model that judges citations; without it no answer has citation metrics. An answer
    without a sentence has none either: eval_alce.py leaves it out of their means.
    """
    torch: Any = importlib.import_module("torch")
    cited = "nocite" not in path.name and judge is not None
    if judge is not None:
        alce.AUTOAIS_MODEL = judge
    if not torch.cuda.is_available():
        alce.get_max_memory = lambda: None  # it asks a GPU
    scores = []
    for sample in json.loads(path.read_text(encoding="utf-8"))["data"]:
        text = re.sub(r"\n+", " ", sample["output"]).replace("<|im_end|>", "")
        plain = {**sample, "output": alce.remove_citations(text)}
        if "qampari" in path.name:
            found = alce.compute_qampari_f1([plain])
        else:
            found = {"str_em": alce.compute_str_em([plain])[0]}
        if cited and _has_sentences(alce, path, text):
            found |= alce.compute_autoais(
                [{**sample, "output": text}],
                qampari="qampari" in path.name,
                at_most_citations=MOST_CITATIONS,
            )
        scores.append(
            {name: found[name] / 100 for name in found if isinstance(found[name], int | float)}
        )
    whole = path.with_name(f"{path.name}.writing")
    whole.write_text(json.dumps(scores), encoding="utf-8")
    whole.replace(f"{path}.score")


def _has_sentences(alce: Any, path: Path, text: str) -> bool:
    shortest = 5  # characters of a sentence that counts, as eval_alce.py has it
    return "qampari" in path.name or any(
        len(sentence.strip()) >= shortest for sentence in alce.sent_tokenize(text)
    )


if __name__ == "__main__":
    main()
