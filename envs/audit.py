"""Known vulnerabilities of what the locks pin, by pip-audit: `python envs/audit.py [--strict]`.

Where its service cannot be reached one line says so. Only with --strict what was found fails: an advisory
appears at any time, and nobody's tests shall fail for it unawares.
"""

import json
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

LOCKS = ("build", "laptop", "laptop-data")


def main() -> None:
    if find_spec("pip_audit") is None:
        print("pip-audit is not installed, nothing was audited")
        return
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        ran = subprocess.run(
            [
                *(sys.executable, "-m", "pip_audit", "--format", "json", "--output", str(report)),
                *("--progress-spinner", "off", "--disable-pip", "--timeout", "5"),
                *(
                    word
                    for lock in LOCKS
                    for word in ("--requirement", str(Path(__file__).with_name(f"{lock}.lock")))
                ),
            ],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if not report.exists() and "onnection" in ran.stderr:
            print("pip-audit: its service cannot be reached, nothing was audited")
            return
        if not report.exists():
            sys.exit(ran.stderr)
        packages = json.loads(report.read_text(encoding="utf-8"))["dependencies"]
    found = [(package, each) for package in packages for each in package.get("vulns", [])]
    for package, each in found:
        mended = ", ".join(each["fix_versions"]) or "none yet"
        print(f"{package['name']} {package['version']}: {each['id']}, mended in: {mended}")
    print(f"pip-audit: {len(found)} known vulnerabilities in {len(packages)} packages")
    sys.exit(bool(found) and "--strict" in sys.argv)


if __name__ == "__main__":
    main()
