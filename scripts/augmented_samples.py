"""Write a picture of augmented training samples with their boxes: what a run with these settings would see.

    python scripts/augmented_samples.py STRUCTURE DATA OUT.jpg [--preset published] [--set augment.sada=0.5 ...]

`tinynas train` writes the same picture, augmented.jpg, into its run folder.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from detector.data.dataset import DetectionDataset
from detector.data.formats import load_split
from detector.training.record.augmented_picture import write_augmented_picture
from detector.training.settings.auto_preset import choose
from detector.training.settings.config import build_config
from detector.training.settings.presets import preset_for, preset_values
from search_spaces.errors import UserError
from search_spaces.text import resolve_structure


def main() -> int:
    """Exit code 2, and one line, for a mistake in the arguments or the data."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("structure", help="structure file or shipped name: gives image size and preset")
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--preset", help="auto, small or published; default: by the number of images")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="as in tinynas train")
    chosen = parser.parse_args()
    try:
        structure = resolve_structure(chosen.structure)
        train, _ = load_split(chosen.data, "train")
        name = chosen.preset or preset_for(len(train))
        config = build_config(preset_values(name, structure), None, chosen.set)
        height, width = config.image_size or structure.image_size
        if name == "auto":
            config = build_config(choose(structure, train).values, None, chosen.set)
        if chosen.out.exists():
            raise UserError(f"{chosen.out}: already exists; choose another name")
        write_augmented_picture(
            DetectionDataset(train, (height, width), config.augment, config.seed), config, chosen.out
        )
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"wrote {chosen.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
