"""The comparisons in benchmarks/: which trainings they make, which networks they choose, and their statistics."""

import argparse
import json
import math
import sys
from pathlib import Path

import numpy as np
import pytest
from tqdm import tqdm

from detector.data.formats import load_split
from detector.training.settings.config import TrainConfig
from detector.training.start import load_splits
from latency_tables import find_table
from latency_tables.predictor import predict
from search_spaces import costs
from search_spaces.emit import emit_detector
from search_spaces.errors import UserError
from search_spaces.saying import silent
from search_spaces.space import load_space
from search_spaces.text import resolve_structure
from tests.detector.data.several_sets import rooms_and_pets, write_set
from tinynas.genes.population import Encoding

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

import _trainings  # noqa: E402
import ablate  # noqa: E402
import half_labelled  # noqa: E402
import many_sets  # noqa: E402
import score_vs_ap  # noqa: E402
import training_speed  # noqa: E402
import transfer_gain  # noqa: E402

NS = resolve_structure("Ns")


def options(**changed: object) -> argparse.Namespace:
    values = {
        "epochs": 15, "seeds": 2, "size": 320, "set": [], "arms": list(ablate.ARMS), "source_epochs": 100,
        "layer_decay": 0.8,
    }  # fmt: skip
    return argparse.Namespace(**{**values, **changed})


def leaves(config: TrainConfig) -> dict[str, object]:
    flat: dict[str, object] = {}

    def walk(prefix: str, node: object) -> None:
        if isinstance(node, dict) and node:
            for key, value in node.items():
                walk(f"{prefix}.{key}" if prefix else key, value)
        else:
            flat[prefix] = node

    walk("", config.model_dump(mode="json"))
    return flat


def changes(arm: str) -> dict[str, object]:
    """The settings that an arm changes, with its values."""
    first = {job.arm: leaves(job.config()) for job in ablate.jobs(NS, options(seeds=1))}
    return {key: value for key, value in first[arm].items() if value != first["small"][key]}


@pytest.mark.parametrize(
    ("arm", "expected"),
    [
        ("small", {}),
        ("no_mosaic", {"augment.mosaic": 0.0}),
        ("no_ema", {"ema.decay": 0.0}),
        ("atss", {"loss.assigner": "atss"}),
        ("no_quiet_epochs", {"schedule.no_aug_epochs": 0}),
        (
            "sgd",
            {"optimizer.name": "sgd", "optimizer.learning_rate_per_image": 0.01 / 64, "optimizer.weight_decay": 5e-4},
        ),
        ("published_optimizer", {"optimizer.learning_rate_per_image": 4e-3 / 256, "optimizer.clip_norm": None}),
        ("published_ema", {"ema.decay": 0.9998, "ema.ramp_steps": 2000.0, "ema.memory_share": 0.1}),
    ],
)
def test_an_arm_changes_its_own_settings_alone(arm, expected):
    assert changes(arm) == pytest.approx(expected)


@pytest.mark.parametrize(("arm", "group"), [("published_augment", "augment."), ("published_schedule", "schedule.")])
def test_a_published_group_is_wholly_that_of_the_published_arm(arm, group):
    found = changes(arm)
    assert found
    assert all(key.startswith(group) for key in found)
    assert found == {key: value for key, value in changes("published").items() if key.startswith(group)}


def test_the_published_groups_together_are_the_published_arm():
    together = {}
    for group in ("augment", "optimizer", "schedule", "ema"):
        together |= changes(f"published_{group}")
    assert changes("published") == {**together, "preset": "published", "batch_size": 16}


def test_every_arm_of_the_first_seed_comes_before_the_second():
    jobs = ablate.jobs(NS, options(arms=["small", "atss"], epochs=10))
    assert [job.name for job in jobs] == ["small-seed0", "atss-seed0", "small-seed1", "atss-seed1"]
    assert [(job.seed, job.config().seed, job.config().eval.every_epochs) for job in jobs][2] == (1, 1, 4)


def test_the_callers_settings_reach_every_arm():
    jobs = ablate.jobs(NS, options(set=["weight=1"], arms=["small"]))
    with pytest.raises(UserError, match="weight"):
        jobs[0].config()
    jobs = ablate.jobs(NS, options(set=["eval.batch_size=3"]))
    assert {job.config().eval.batch_size for job in jobs} == {3}


def run(arm: str, val: float | None) -> dict[str, object]:
    return {"arm": arm, "val_ap": val, "val_ap50": val, "test_ap": None, "test_ap50": None}


def test_summary_against_a_hand_computation():
    runs = [run("base", 0.10), run("base", 0.14), run("other", 0.20), run("other", 0.22), run("other", 0.27)]
    found = _trainings.summary({str(n): r for n, r in enumerate(runs)}, "base")
    assert found["base"]["val_ap"] == {"runs": 2, "mean": 0.12, "standard_deviation": 0.02828}
    # deviations of other: -.03, -.01, .04 -> variance .0026 / 2; of base: 2 x .02^2 / 1
    other = found["other"]["val_ap"]
    assert (other["mean"], other["standard_deviation"]) == (0.23, round(math.sqrt(0.0013), 5))
    assert other["difference_points"] == 11.0
    assert other["standard_error_points"] == round(100 * math.sqrt(0.0008 / 2 + 0.0013 / 3), 2)
    assert found["other"]["test_ap"] == {"runs": 0, "mean": None, "standard_deviation": None}


def test_summary_of_single_runs_has_no_spread():
    found = _trainings.summary({"a": run("base", 0.1), "b": run("other", 0.2)}, "base")["other"]["val_ap"]
    assert found == {"runs": 1, "mean": 0.2, "standard_deviation": None, "difference_points": 10.0}


def test_models_of_many_sets_have_equal_steps(tmp_path):
    given = options(
        structure="Ns", steps=600, batch=16, root=tmp_path, out=tmp_path, space=None, sets=["rooms", "pets"]
    )
    for images in (65, 921):
        (job,) = many_sets.jobs(argparse.Namespace(**{**vars(given), "seeds": 1}), ["own"], images)
        assert job.epochs * -(-images // 16) == pytest.approx(600, rel=0.04)
    joint, unmasked = many_sets.jobs(argparse.Namespace(**{**vars(given), "seeds": 1}), ["joint", "unmasked"], 921)
    assert not joint.config().loss.unlabelled_as_background
    assert unmasked.config().loss.unlabelled_as_background
    assert (joint.epochs, joint.config().batch_size) == (unmasked.epochs, unmasked.config().batch_size) == (10, 16)
    rooms_and_pets(tmp_path)
    (tmp_path / "general.yaml").unlink()
    path = many_sets.label_space(given)
    before = path.read_text()
    assert "couch: [Sofa]" in before
    path.write_text(before.replace("[Sofa]", "[Sofa]  # edited"))
    assert "edited" in many_sets.label_space(given).read_text()


def test_half_labelled_sets_hold_all_images_and_boxes_of_their_own_classes_alone(tmp_path):
    boxes = [(image, name) for image in range(4) for name in "abcd"]
    place = write_set(tmp_path / "full", "abcd", {"train": boxes, "val": boxes}, images=4)
    whole, _ = load_split(place, "train")
    first, second = halves = half_labelled.halved(whole)
    assert sorted([*first.image_paths, *second.image_paths]) == sorted(whole.image_paths)
    assert (first.class_names, second.class_names) == (whole.class_names[::2], whole.class_names[1::2])
    numbers = {path: number for number, path in enumerate(whole.image_paths)}
    for half in halves:
        for number, path in enumerate(half.image_paths):
            own, all_boxes = (one.image_index() == index for one, index in ((half, number), (whole, numbers[path])))
            kept = [whole.class_names[label] in half.class_names for label in whole.labels[all_boxes]]
            assert np.array_equal(half.boxes_xyxy[own], whole.boxes_xyxy[all_boxes][kept])
            names = [whole.class_names[label] for label in whole.labels[all_boxes][kept]]
            assert [half.class_names[label] for label in half.labels[own]] == names
    general = half_labelled.written(place, whole.class_names, halves, tmp_path / "halves")
    train, val = (load_split(general, split)[0] for split in ("train", "val"))
    assert len(train) == len(whole)
    assert len(train.labels) == sum(len(half.labels) for half in halves)
    assert len(val.labels) == len(load_split(place, "val")[0].labels)


def test_the_masks_gain_is_paired_by_seed_over_all_sets():
    def one(seed, masked, unmasked):
        aps = {"masked": masked, "unmasked": unmasked, "all_labels": 0.9}
        return {f"{arm}-seed{seed}": {"seed": seed, "test_ap": ap, "val_ap": 0.0} for arm, ap in aps.items()}

    second = {name: run for name, run in one(1, 0.9, 0.1).items() if name != "unmasked-seed1"}  # that one failed
    found = half_labelled.together([{**one(0, 0.5, 0.4), **second}, one(0, 0.3, 0.28)])
    assert (found["pairs"], found["difference_points"]) == (2, 6.0)


def test_a_set_of_one_class_has_no_halves(tmp_path, monkeypatch):
    write_set(tmp_path / "one", ("cat",), {"train": [(0, "cat")], "val": [(0, "cat")]})
    words = [str(tmp_path), "--sets", "one", "--out", str(tmp_path / "out")]
    monkeypatch.setattr(sys, "argv", ["half_labelled.py", *words])
    with pytest.raises(UserError, match="--sets one: 'cat' is its only class; name a set of two or more"):
        half_labelled.main()


def test_transfer_compares_with_scratch_of_as_many_epochs():
    runs = {
        f"{arm}-{epochs}": {**run(arm, ap), "compared_epochs": epochs}
        for arm, epochs, ap in [
            ("scratch", 10, 0.1),
            ("transfer", 10, 0.3),
            ("scratch", 30, 0.4),
            ("transfer", 30, 0.5),
        ]
    }
    found = transfer_gain.by_epochs(runs)
    assert [found[epochs]["transfer"]["val_ap"]["difference_points"] for epochs in (10, 30)] == [20.0, 10.0]


def test_transfer_jobs():
    listed = transfer_gain.jobs(NS, Path("best.pt"), options(epochs=[10], seeds=1, arms=list(transfer_gain.ARMS)))
    found = {job.arm: (job.epochs, compared, job.weights, job.layer_decay) for job, compared in listed}
    best = Path("best.pt")
    assert found == {
        "scratch": (10, 10, None, 1.0), "transfer": (10, 10, best, 1.0), "transfer_layerwise": (10, 10, best, 0.8),
        "scratch_long": (110, 10, None, 1.0),
    }  # fmt: skip


def test_correlations_by_hand():
    networks = [
        dict.fromkeys(score_vs_ap.QUANTITIES, 1.0) | {"score": score, "val_ap": ap, "test_ap": None}
        for score, ap in enumerate([0.1, 0.3, 0.2, 0.4], start=1)
    ]
    found = score_vs_ap.correlations(networks)
    # 5 pairs in order, 1 not; of the 24 orders, 1 + 3 have at most 1 pair turned and as many at most 1 that is not
    assert found["score"] == {"val_ap": {"tau": 0.6667, "p": 0.33333, "networks": 4}}
    assert found["macs"] == {}


def test_chosen_networks_have_one_latency_and_spread_over_the_scores(monkeypatch):
    for name, value in (("DRAWN", 4000), ("CHILDREN", 1000), ("GENERATIONS", 30), ("POOL", 128)):
        monkeypatch.setattr(score_vs_ap, name, value)
    encoding, table = Encoding(load_space("mob"), (224, 224), 3), find_table("cpu")
    genes, scores = score_vs_ap.Networks(encoding, table, 6.0).explore(np.random.default_rng(1))
    chosen = score_vs_ap.spread(scores, 12, np.random.default_rng(1))
    graphs = [emit_detector(encoding.single(genes, index)) for index in chosen]
    latencies = [predict(graph, table).total_ms for graph in graphs]
    assert all(6 * 0.98 - 1e-9 <= latency <= 6 * 1.02 + 1e-9 for latency in latencies)
    assert max(costs.layers(graph) for graph in graphs) <= encoding.space.max_layers
    assert scores[chosen].max() > 1.3 * scores[chosen].min()
    steps = np.diff(scores[chosen])
    assert steps.min() > 0.5 * steps.mean()
    assert steps.max() < 1.5 * steps.mean()
    again, _ = score_vs_ap.Networks(encoding, table, 6.0).explore(np.random.default_rng(1))
    assert np.array_equal(genes, again)


def test_spread_takes_no_network_twice():
    chosen = score_vs_ap.spread(np.array([0.0, 0.01, 10.0, 10.01]), 4, np.random.default_rng(0))
    assert sorted(chosen) == [0, 1, 2, 3]


def test_pictures_are_drawn(tmp_path):
    runs = {f"{arm}{seed}": run(arm, 0.1 * seed) for arm in ("small", "atss") for seed in (0, 1)}
    ablate.draw(runs, _trainings.summary(runs, "small"), tmp_path / "ablate.png")
    networks = {
        f"network{n:02d}": {"score": n, "macs": n * 1e8, "params": n * 1e6, "val_ap": 0.1 * n, "test_ap": None,
                            "latency_ms": 6.0, "deepmad": n, "zen": -n}
        for n in range(1, 5)
    }  # fmt: skip
    found = score_vs_ap.correlations(list(networks.values()))
    assert (found["score"]["val_ap"]["tau"], found["zen"]["val_ap"]["tau"]) == (1.0, -1.0)
    assert json.loads(json.dumps(found))["latency_ms"] == {}
    score_vs_ap.draw(networks, found, tmp_path / "score_vs_ap.png")
    for name in ("ablate", "score_vs_ap"):
        assert (tmp_path / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def test_a_format_that_cannot_be_run_here_is_named(monkeypatch, tmp_path):
    import export_formats

    assert [name for name, _ in export_formats.settings_of("openvino")] == ["fp32", "half"]
    monkeypatch.setattr(export_formats, "find_spec", lambda _: None)
    found = export_formats.exported(None, "tensorrt", None, tmp_path)
    assert found == {"not_run": "tensorrt is not installed"}


def test_every_part_of_a_training_is_timed(tmp_path):
    rooms_and_pets(tmp_path)
    splits = load_splits(tmp_path / "rooms", silent)
    given = argparse.Namespace(
        structure="Ns", batch=2, device="cpu", workers=0, size=64, seed=0, weights=None, repeats=1, amp=["off"]
    )
    with tqdm(disable=True) as bar:
        found = training_speed.measure(splits, given, "off", "small", bar)
    parts = {
        "step_ms": {*training_speed.PARTS_OF_STEP, "assign", "to_device", "step", "rest"},
        "evaluation_ms_per_image": {"deploy", "forward", "suppression", "matching", "loading_and_rest", "whole"},
        "loading_ms": {"decode", "sample_cached", "augment", "collate"},
    }
    for kind, names in parts.items():
        assert names <= found[kind].keys()
    assert min(found["loop_images_per_second"].values()) > 0
