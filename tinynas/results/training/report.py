"""report.html of a training or an evaluation, and what lies beside it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from detector.evaluation import Assessment
from detector.evaluation.assessment import TABLE_FILES
from detector.evaluation.pictures import compare, write_comparison
from search_spaces.errors import UserError
from search_spaces.files import check_folder, write_text
from tinynas.results.page import render_page
from tinynas.results.training.charts import CONFUSION_FILE, CURVES_FILE, draw_confusion, draw_curves
from tinynas.results.training.sampling import PICTURE_FILE, draw_sampling, read_sampling
from tinynas.results.training.subject import Subject
from tinynas.results.training.view import Shown, page_content

FILE_NAME, FOLDER_NAME = "report.html", "evaluation"
PICTURES = ("worst-*.jpg", "random-*.jpg")


def output_names() -> list[str]:
    """What a report writes into its folder."""
    return [FILE_NAME, FOLDER_NAME]


def write_training_report(subject: Subject, out: Path, seed: int = 0) -> Path:
    """Write report.html into `out`, and tables and pictures into `out`/evaluation; those of an earlier one are replaced.

    seed: of the choice of random images. Returns the page's path. Raises UserError when an image cannot be read or a
    file cannot be written.
    """
    folder = out / FOLDER_NAME
    check_folder(folder, "choose another folder")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        files = (*TABLE_FILES, CURVES_FILE, CONFUSION_FILE, PICTURE_FILE)
        for old in (*(folder / name for name in files), *_pictures(folder)):
            old.unlink(missing_ok=True)
        draw_curves(subject.assessment, folder / CURVES_FILE)
        draw_confusion(subject.assessment, folder / CONFUSION_FILE)
        sampled = {} if subject.run is None else read_sampling(subject.run.path)
        if sampled:
            draw_sampling(sampled, folder / PICTURE_FILE)
    except OSError as error:
        raise UserError(f"{folder}: cannot be written ({error.strerror}); free some space") from None
    subject.assessment.write_tables(folder)
    shown = _comparisons(subject.assessment, folder, seed)
    content = page_content(subject, shown, (folder / PICTURE_FILE).read_bytes() if sampled else b"")
    path = out / FILE_NAME
    write_text(path, render_page("tinynas.results.training", "training.html.j2", "training.js", content))
    return path


def _pictures(folder: Path) -> Iterator[Path]:
    for pattern in PICTURES:
        yield from folder.glob(pattern)


def _comparisons(assessment: Assessment, folder: Path, seed: int) -> list[Shown]:
    """The pictures of truth and prediction, written and as the page shows them."""
    shown, numbers = [], dict.fromkeys(("worst", "random"), 0)
    for comparison in compare(assessment, seed):
        numbers[comparison.why] += 1
        path = assessment.annotations.image_paths[comparison.index]
        write_comparison(comparison, folder, numbers[comparison.why], path.stem)
        index = comparison.index
        shown.append(
            Shown(
                why=comparison.why, name=path.name, missed=int(assessment.missed[index]),
                false=int(assessment.false[index]), truth=comparison.truth, predicted=comparison.predicted,
            )
        )  # fmt: skip
    return shown
