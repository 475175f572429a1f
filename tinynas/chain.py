"""A chain under way: its folder claimed, and its links trained one after the other."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from search_spaces.errors import UserError
from search_spaces.files import check_folder, write_text
from tinynas.family.links import Link
from tinynas.results.training.run_folder import RunFolder

CHAIN_FILE = "chain.yaml"


def claim(out: Path, wanted: Mapping[str, Any], *, resume: bool, overwrite: bool) -> None:
    """Write down what the folder's chain is; what `resume` goes on with must be the same. `overwrite` deletes the members'
    run folders of an earlier chain.

    wanted: `members`, each with a `name`, and the settings, as plain values. A chain none of whose trainings began, because
    something was wrong with them, claims nothing. Raises UserError for a folder that is in use, and for a chain with other
    settings than the one to go on with.
    """
    if resume and overwrite:
        raise UserError("--resume goes on with what is there, --overwrite replaces it; leave one of them out")
    check_folder(out)
    path, text = out / CHAIN_FILE, yaml.safe_dump(dict(wanted), sort_keys=False, width=120)
    begun = out.is_dir() and any(there.name != CHAIN_FILE for there in out.iterdir())
    if path.is_file() and resume and begun:
        began = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
        other = [key for key in {**began, **wanted} if began.get(key) != wanted.get(key)]
        if other:
            key = other[0]
            raise UserError(
                f"{out}: its chain began with {key} {began.get(key)!r}, now it is {wanted.get(key)!r}; expected the same "
                "command, or another --out"
            )
        return
    if resume and not path.is_file():
        raise UserError(f"{path}: no such file; --resume expects the --out of a chain that was stopped")
    if begun and not overwrite:
        raise UserError(
            f"{out}: already exists and is not empty; pass --resume to go on, --overwrite, or another --out"
        )
    # else what an earlier chain finished would count as done, or lie beside this one's runs
    for name in {*_members(wanted), *_earlier(path)}:
        if (out / name / "config.yaml").is_file():
            shutil.rmtree(out / name)
    out.mkdir(parents=True, exist_ok=True)
    write_text(path, text)


def _members(chain: Any) -> list[str]:
    return [str(member["name"]) for member in chain["members"]]


def _earlier(path: Path) -> list[str]:
    """The members of the chain that was written down before; none where it cannot be read."""
    try:
        names = _members(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError, KeyError, yaml.YAMLError):
        return []
    return [name for name in names if Path(name).name == name != ".."]


def train_chain(
    links: Sequence[Link], out: Path, train: Callable[..., None], told: Callable[[Sequence[Link]], None]
) -> None:
    """Train every link that is not finished; `told` is called after each with those that are done.

    train: as `tinynas train` (structure, out, teacher, resume, overwrite).
    """
    for number, link in enumerate(links):
        folder = out / link.name
        run = RunFolder.read(folder)
        if run is not None and run.finished:
            continue
        print(
            f"\nmember {number + 1} of {len(links)}: {link.name}"
            + (f", taught by {link.teacher}" if link.teacher else "")
        )
        if (folder / "last.pt").is_file():
            train(resume=folder)
        else:
            teacher = None if link.teacher is None else out / link.teacher / "best.pt"
            train(structure=str(link.member.structure), out=folder, teacher=teacher, overwrite=True)
        told(links[: number + 1])
    told(links)
