"""What scripts/gpu_check.sh needs besides PyTorch: fetched as wheels where there is a network, installed where there is none.

    python scripts/gpu_packages.py download FOLDER [--python 3.12] [--have PIP_LIST]
    python scripts/gpu_packages.py install FOLDER SITE

Standard library only: this runs before anything else is there. Exit code 2, with one line, for what cannot be done.
"""

from __future__ import annotations

import argparse
import configparser
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
MOST_BYTES = 40_000_000
NEEDED = (
    "pydantic", "pydantic-core", "annotated-types", "typing-inspection", "typing_extensions", "PyYAML", "tqdm", "typer",
    "shellingham", "annotated-doc", "rich", "markdown-it-py", "mdurl", "Pygments", "joblib", "pycocotools", "Jinja2",
    "MarkupSafe", "pytest", "iniconfig", "pluggy", "packaging", "pytest-timeout", "onnx", "protobuf", "ml_dtypes",
    "onnxscript", "onnx-ir", "onnxslim", "colorama",
)  # fmt: skip
"""With what they need in turn, PyTorch's own needs aside. Images for vision have the others; these they often lack."""
ALSO = (
    "matplotlib", "contourpy", "cycler", "fonttools", "kiwisolver", "pyparsing", "python-dateutil", "pillow",
    "flatbuffers", "onnxruntime", "numpy", "opencv-python-headless",
)  # fmt: skip
"""Fetched too, in this order, as far as the size allows."""
MODULES = {
    "PyYAML": "yaml", "opencv-python-headless": "cv2", "pillow": "PIL", "pytest-timeout": "pytest_timeout",
    "python-dateutil": "dateutil", "markdown-it-py": "markdown_it", "fonttools": "fontTools", "Pygments": "pygments",
    "Jinja2": "jinja2", "MarkupSafe": "markupsafe", "protobuf": "google.protobuf",
}  # fmt: skip
"""What is imported, where a package has another name."""
NOT_ESSENTIAL = {"onnxruntime", "flatbuffers"}
"""Without them the steps that need them say so, and the rest runs."""
TAGS = [f"manylinux_2_{minor}_x86_64" for minor in (28, 27, 26, 24, 17, 12, 5)]
TAGS += ["manylinux2014_x86_64", "manylinux2010_x86_64", "manylinux1_x86_64"]


def lower_bounds(setup_cfg: str) -> dict[str, tuple[int, ...]]:
    """The oldest version that setup.cfg asks for, by normalised name."""
    parser = configparser.ConfigParser()
    parser.read_string(setup_cfg)
    lines = parser["options"]["install_requires"].split() + parser["options.extras_require"]["dev"].split()
    bounds = (re.fullmatch(r"([\w.-]+)>=([\d.]+)", line) for line in lines)
    return {_plain(found[1]): _numbers(found[2]) for found in bounds if found}


def missing(names: Iterable[str], bounds: dict[str, tuple[int, ...]]) -> list[str]:
    """Those packages that this Python cannot import, or that are older than their bound."""
    found = []
    for name in names:
        if not _importable(MODULES.get(name, name.replace("-", "_"))):
            found.append(name)
            continue
        try:
            here = _numbers(version(name))
        except PackageNotFoundError:
            continue  # under another name (opencv-python for opencv-python-headless): that will do
        if here < bounds.get(_plain(name), ()):
            found.append(name)
    return found


def install(wheels: Path, site: Path) -> int:
    """Put the packages that this Python lacks from `wheels` into `site`, and nothing else."""
    bounds = lower_bounds((ROOT / "setup.cfg").read_text())
    wanted = missing((*NEEDED, *ALSO), bounds)
    here = {_plain(path.name.split("-")[0]) for path in wheels.glob("*.whl")}
    brought = [name for name in wanted if _plain(name) in here]
    if brought:
        pip = [
            sys.executable,
            "-m",
            "pip",
            "install",
            "--quiet",
            "--no-index",
            "--no-deps",
            "--disable-pip-version-check",
        ]
        done = subprocess.run([*pip, "--find-links", str(wheels), "--target", str(site), *brought], check=False)
        if done.returncode:
            return _refuse(f"pip could not install {', '.join(brought)} from {wheels}; are the wheels for this Python?")
    absent = [name for name in wanted if name not in brought]
    fatal = [name for name in absent if name not in NOT_ESSENTIAL]
    if fatal:
        return _refuse(
            f"{sys.executable} lacks {', '.join(fatal)}; pip install them, or where there is no network run "
            "bash scripts/gpu_wheels.sh elsewhere and bring the folder scripts/wheels"
        )
    told = f"from {wheels}: {', '.join(brought)}" if brought else "nothing to install"
    print(f"packages: {told}" + (f"; without {', '.join(absent)}" if absent else ""))
    return 0


def download(folder: Path, python: str, have: Sequence[str]) -> int:
    """Fetch wheels for Linux on x86-64 and that Python, pinned as in constraints.txt; at most MOST_BYTES."""
    pins = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().split() if "==" in line)
    versions = {_plain(name): number for name, number in pins.items()}
    present = {_plain(re.split(r"[\s=@]", line.strip())[0]) for line in have if line.strip()}
    foreign = [path for path in folder.glob("*") if path.suffix != ".whl"]
    if foreign:
        return _refuse(f"{foreign[0]} is no wheel; expected a folder of wheels alone, which is replaced, or none")
    fresh = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        code = _fill(fresh, folder, python, versions, present)
        if code == 0:
            shutil.rmtree(folder, ignore_errors=True)
            fresh.rename(folder)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return code


def _fill(fresh: Path, folder: Path, python: str, versions: dict[str, str], present: set[str]) -> int:
    """Fetch into `fresh` what goes to `folder`."""
    total, left_out = 0, []
    for name in (name for name in (*NEEDED, *ALSO) if _plain(name) not in present):
        wheel = _fetched(f"{name}=={versions[_plain(name)]}", fresh, python)
        if wheel is None:
            return _refuse(f"pip found no wheel of {name} {versions[_plain(name)]} for Python {python}")
        size = wheel.stat().st_size
        if total + size > MOST_BYTES:
            wheel.unlink()
            left_out.append(f"{name} ({size / 1e6:.1f} MB)")
            continue
        total += size
        print(f"{size / 1e6:7.2f} MB  {wheel.name}")
    print(f"{total / 1e6:7.2f} MB  in {folder}, for Python {python} on Linux x86-64")
    if left_out:
        print(
            f"not fetched, the machine must have them: {', '.join(left_out)} (--have PIP_LIST leaves out what it has)"
        )
    return 0


def _fetched(requirement: str, folder: Path, python: str) -> Path | None:
    before = set(folder.glob("*.whl"))
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    tags = [word for tag in TAGS for word in ("--platform", tag)]
    options = [
        "--disable-pip-version-check",
        "--implementation",
        "cp",
        "--python-version",
        python,
        "--dest",
        str(folder),
    ]
    subprocess.run([*pip, *options, *tags, requirement], check=False, stderr=subprocess.DEVNULL)
    return next(iter(set(folder.glob("*.whl")) - before), None)


def _importable(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # the package of a dotted name
        return False


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", text)[:3])


def _refuse(reason: str) -> int:
    print(f"error: {reason}", file=sys.stderr)
    return 2


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    fetch = commands.add_parser("download")
    fetch.add_argument("folder", type=Path)
    fetch.add_argument("--python", default="3.12", help="3.11, 3.12 or 3.13: the other machine's")
    fetch.add_argument("--have", type=Path, help="what `pip list --format=freeze` printed there")
    put = commands.add_parser("install")
    put.add_argument("folder", type=Path)
    put.add_argument("site", type=Path)
    options = parser.parse_args()
    if options.command == "install":
        return install(options.folder, options.site)
    if not re.fullmatch(r"3\.\d+", options.python):
        return _refuse(f"--python {options.python!r}: expected two numbers, for example 3.12")
    if options.have is not None and not options.have.is_file():
        return _refuse(f"--have {options.have}: no such file; expected what pip list --format=freeze printed there")
    return download(options.folder, options.python, options.have.read_text().splitlines() if options.have else ())


if __name__ == "__main__":
    sys.exit(main())
