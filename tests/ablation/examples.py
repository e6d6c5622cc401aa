"""Studies to test with, made by hand: no run is behind their figures."""

import math
from dataclasses import replace

import numpy as np

from cpn.ablation.outcome import Cost, Curve, Estimate, Gap, StudyOutcome, VariantOutcome
from cpn.skeleton import COCO_17
from cpn.tasks.ablation.subjects import POSES

NAN = math.nan
METRICS = ("AP", "AP50", "AP75", "APM", "APL", "AR", "AR50", "AR75", "ARM", "ARL")
LEVELS = {
    "C2-C5": (0.7123, 69.4, 6.20),
    "C2": (0.6841, 68.3, 5.02),
    "C2-C3": (0.6902, 68.4, 5.50),
    "C2-C4": (0.7069, 69.1, 5.88),
    "C5_alone": (0.5311, None, None),
}


def study(*, seeds: int = 3, num_points: int = 240) -> StudyOutcome:
    """Five variants with all figures that there can be; every run is done."""
    rng = np.random.default_rng(0)
    return StudyOutcome(
        name="levels",
        title="Pyramid levels fed to RefineNet",
        source="CPN (Chen et al., CVPR 2018), table 4",
        baseline="C2-C5",
        variants=tuple(
            variant(name, rng, ap=ap, seeds=seeds, paper=paper, num_points=num_points)
            for name, (ap, *paper) in LEVELS.items()
        ),
        facts={
            "data": "generated people, 2,000 for training and 500 for validation",
            "boxes": "ground truth",
            "shared": "experiment=demo train.epochs=40 model.input=[192, 256]",
            "machine": "2 cores, no GPU",
        },
        wording=POSES.wording,
        confidence=0.95,
        is_complete=True,
        conclusions=(
            "C5_alone is worse than C2-C5 by 18.1 points (p <0.001).",
            "The paper's order of C2, C2-C3, C2-C4 and C2-C5 is reproduced.",
        ),
    )


def variant(
    name: str,
    rng: np.random.Generator,
    *,
    ap: float = 0.7,
    base: float = 0.7123,
    seeds: int = 3,
    paper: list[float | None] | None = None,
    num_points: int = 240,
) -> VariantOutcome:
    is_baseline = ap == base
    gap = ap - base
    p_value = float(np.exp(-abs(gap) * 150))
    whole = Gap(gap, gap - 0.015, gap + 0.014, p_value, min(1.0, 2 * p_value))
    published_ap, published_gflops = paper or (None, None)
    spread = {key: ap + 0.02 * at for at, key in enumerate(METRICS)}
    return VariantOutcome(
        name=name,
        overrides=() if is_baseline else (f"model.levels=[{name}]", "model.refine=full"),
        seeds=tuple(range(seeds)),
        metrics={key: Estimate(x, x - 0.013, x + 0.012) for key, x in spread.items()},
        gap=None if is_baseline else whole,
        keypoints={} if is_baseline else _keypoints(gap, rng),
        curves=tuple(_curve(seed, ap, rng, num_points) for seed in range(seeds)),
        cost=Cost(27_012_345, 4.2 + 9 * (ap - 0.5), 104.25, 18.5, 2210.5),
        published_ap=published_ap,
        published_gflops=published_gflops,
        epochs=40,
    )


def _keypoints(gap: float, rng: np.random.Generator) -> dict[str, Gap]:
    found = {}
    for name in COCO_17.keypoint_names:
        value = gap + float(rng.normal(0, 0.01))
        p_value = min(1.0, 0.02 / abs(value) * float(rng.uniform(0, 1.4)))
        found[name] = Gap(value, value - 0.02, value + 0.02, p_value, min(1.0, 3 * p_value))
    return found


def _curve(seed: int, ap: float, rng: np.random.Generator, num_points: int) -> Curve:
    epochs = np.linspace(40 / num_points, 40, num_points)
    loss = (1.6 - ap) * (0.25 + 2 * np.exp(-epochs / 6)) * rng.lognormal(0, 0.08, num_points)
    evaluated = np.arange(4.0, 41, 4)
    aps = ap * (1 - np.exp(-evaluated / 9)) + rng.normal(0, 0.008, len(evaluated))
    return Curve(
        seed,
        tuple(zip(epochs.tolist(), loss.tolist(), strict=True)),
        tuple(zip(evaluated.tolist(), aps.tolist(), strict=True)),
    )


def unfinished() -> StudyOutcome:
    """One variant has no run, one was cut, one lost a seed; keypoints of one are unknown."""
    done = study()
    base, cut, lost, none, last = done.variants
    return replace(
        done,
        variants=(
            base,
            replace(cut, epochs=12, notes=("Cut to 12 of 40 epochs by budget.minutes=30.",)),
            replace(lost, seeds=(0, 2), notes=("Seed 1 failed: the loss was not finite.",)),
            without_runs(none),
            replace(last, keypoints={}, cost=None),
        ),
        is_complete=False,
        conclusions=(),
    )


def without_runs(one: VariantOutcome) -> VariantOutcome:
    return replace(one, seeds=(), metrics={}, gap=None, keypoints={}, curves=())


def single_seed() -> StudyOutcome:
    """No interval and no p-value is known, and no published figure."""
    done = study(seeds=1)
    variants = tuple(_bare(one) for one in done.variants)
    return replace(done, source=None, variants=variants, conclusions=("Too few seeds.",))


def _bare(one: VariantOutcome) -> VariantOutcome:
    return replace(
        one,
        metrics={key: Estimate(x.value, NAN, NAN) for key, x in one.metrics.items()},
        gap=one.gap and Gap(one.gap.value, NAN, NAN, NAN, NAN),
        keypoints={key: Gap(x.value, NAN, NAN, NAN, NAN) for key, x in one.keypoints.items()},
        published_ap=None,
        published_gflops=None,
    )


def large() -> StudyOutcome:
    """Fourteen variants, all as costly as each other but for one, and long names."""
    rng = np.random.default_rng(1)
    names = ["sum, with top-down 1x1", *(f"fusion_by_{kind}" for kind in "abcdefghijkl"), "z" * 60]
    aps = [0.7123, *(0.7123 + rng.normal(0, 0.012, 13)).tolist()]
    found = tuple(variant(name, rng, ap=ap) for name, ap in zip(names, aps, strict=True))
    costs = [Cost(27_000_000 + at, 6.2 + (at == 3), 100.0, 20.0, 2000.0) for at in range(14)]
    notes = tuple(f"Seed {seed} was cut by halving after 3 of 6 runs." for seed in range(3))
    return replace(
        study(),
        title="Fusion of pyramid levels",
        baseline=names[0],
        source=None,
        variants=tuple(
            replace(one, cost=cost, notes=notes if at == 5 else ())
            for at, (one, cost) in enumerate(zip(found, costs, strict=True))
        ),
        conclusions=(),
    )


EVIL = "</script><script>alert(1)</script><img src=x onerror=alert(2)>'\"&{{ 7 * 7 }}|`*\udcff\x00"


def hostile() -> StudyOutcome:
    """Whatever is text holds markup."""
    done = study(num_points=10)
    base, other, *_ = done.variants
    bad = replace(other, name=EVIL, overrides=(EVIL,), notes=(EVIL,), keypoints={})
    bad = replace(bad, keypoints={EVIL: Gap(0.1, 0.0, 0.2, 0.01, 0.02)})
    return replace(
        done,
        name=EVIL,
        title=EVIL,
        source=EVIL,
        variants=(base, bad),
        facts={EVIL: EVIL},
        conclusions=(EVIL,),
    )
