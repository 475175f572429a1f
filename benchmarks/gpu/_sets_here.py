"""The data sets of a check: those that are there, else generated ones of the same pixel size."""

from __future__ import annotations

from pathlib import Path

from _call import Call

from detector.data.sample import write_sample_data
from search_spaces.errors import UserError

SIDES = {"signs": 416, "pcb": 640}


def data_set(call: Call, name: str) -> tuple[Path, str]:
    """The folder of `signs` or `pcb`, and what it is: the real set below `call.data`, or made-up pictures."""
    if call.data is not None and not call.quick:
        folder = call.data / name
        if folder.is_dir():
            return folder, name
        raise UserError(f"--data {call.data}: there is no {name}/ in it; leave --data out for generated pictures")
    made = call.out / "work" / "data" / name
    side, images = (64, 12) if call.quick else (SIDES[name], 600 if name == "signs" else 300)
    if not made.is_dir():
        write_sample_data(made, images, max(4, images // 3), (side, side), seed=SIDES[name])
    return made, f"generated pictures in place of {name}"
