"""`tinynas import-weights`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from search_spaces.errors import UserError
from search_spaces.files import check_file, check_new_file

if TYPE_CHECKING:
    from detector.checkpoint import Checkpoint
    from search_spaces.structure import Structure


def run(
    source: Annotated[Path, typer.Argument(metavar="FILE.pth", help="A released DAMO-YOLO checkpoint.")],
    model: Annotated[str, typer.Option(help="Its structure: T, S, M, L, Ns, Nm, Nl or a structure file.")],
    out: Annotated[Path | None, typer.Option("--out", "-o", help="File to write; by default FILE.pt.")] = None,
    class_names: Annotated[
        str | None, typer.Option(help="Names by label, with commas between; COCO's for 80 classes if not given.")
    ] = None,
    overwrite: Annotated[bool, typer.Option(help="Replace an existing file.")] = False,
) -> None:
    """Turn a released DAMO-YOLO checkpoint into one of this project's."""
    from search_spaces.text import resolve_structure

    structure = resolve_structure(model)
    check_file(source, "a checkpoint (a public DAMO-YOLO .pth)")
    target = out or source.with_suffix(".pt")
    check_new_file(target, overwrite=overwrite and target.resolve() != source.resolve())
    from detector.checkpoint import save_checkpoint

    checkpoint = _converted(source, structure, class_names.split(",") if class_names else [])
    target.parent.mkdir(parents=True, exist_ok=True)
    save_checkpoint(checkpoint, target)
    tensors = checkpoint.weights.values()
    print(
        f"{len(tensors)} tensors ({sum(t.numel() for t in tensors) / 1e6:.2f} M values) of {source} fit {model}: "
        f"{len(checkpoint.class_names)} classes ({checkpoint.class_names[0]}, ...), "
        f"{structure.image_size[0]}x{structure.image_size[1]} px"
    )
    print(f"wrote {target}")


def _converted(source: Path, structure: Structure, names: list[str]) -> Checkpoint:
    """The released weights in a network of that structure, with as many classes as they have."""
    from detector.checkpoint import Checkpoint
    from detector.data.coco_names import COCO_CATEGORY_IDS, COCO_NAMES
    from detector.import_weights import import_state, read_public_checkpoint
    from detector.network import Network

    public = read_public_checkpoint(source)
    class_conv = public.get("head.gfl_cls.0.weight")
    classes = structure.head.num_classes if class_conv is None else len(class_conv)
    is_coco = classes == len(COCO_NAMES) and not names
    if names and len(names) != classes:
        raise UserError(f"--class-names: {len(names)} names, but {source} has {classes} classes")
    network = Network(structure.with_classes(classes))
    import_state(public, network, str(source))
    return Checkpoint(
        structure=network.structure,
        class_names=COCO_NAMES if is_coco else tuple(names) or tuple(f"class {label}" for label in range(classes)),
        weights=network.state_dict(),
        category_ids=COCO_CATEGORY_IDS if is_coco else tuple(range(1, classes + 1)),
    )
