"""A report as a real build would write it: six layers, eight roles, errors that differ, one role left in float."""

from __future__ import annotations

import math
import random

from bertc.report.schema import (
    CheckpointPart,
    DataPart,
    DataSource,
    EnginePart,
    EnvironmentPart,
    FloatSite,
    GatePart,
    HistogramPart,
    LatencyPart,
    MetricPart,
    OperatingPoint,
    QuantizationPart,
    Report,
    SitePart,
    StagePart,
)

_ROLES = {
    "hidden": 0.008,
    "query": 0.011,
    "key": 0.013,
    "value": 0.017,
    "probs": 0.03,
    "context": 0.02,
    "attention_norm": 0.009,
    "gelu": 0.045,
}


def sample_report() -> Report:
    """Return a build that passed at 1 %."""
    sites = _sites()
    worst = sorted((site for site in sites if site.histogram), key=lambda site: -(site.error or 0))
    return Report(
        bertc="0.1.0",
        created="2026-11-21T09:14:52+00:00",
        command="bertc build minilm-sst2 -o OUT --calibration-data train.tsv --validation-data dev.tsv --max-drop 1%",
        checkpoint=CheckpointPart(
            digest="9f2c" * 16,
            family="bert",
            layers=6,
            hidden=384,
            heads=12,
            parameters=22_713_986,
            name="minilm-sst2",
            task="sequence-classification",
        ),
        quantization=QuantizationPart(
            mode=1,
            calibrator="percentile",
            weights="int8 per channel",
            sites_int8=42,
            sites_float=tuple(
                FloatSite(site=f"layer.{n}.probs", reason="QAttention computes both batched products in float")
                for n in range(6)
            ),
            fused={"attention": 6, "skip_layer_norm": 12, "gelu": 6},
            fused_expected={"attention": 6, "skip_layer_norm": 12, "gelu": 6},
            gemms_int8=36,
            gemms_float=0,
            smoothing=0.85,
            embeddings="INT8 with a scale per row",
        ),
        engine=EnginePart(
            target="ort-cpu",
            bytes=22_934_112,
            onnx_bytes=22_934_112,
            features=("avx512_vnni",),
            reference_bytes=90_876_310,
        ),
        accuracy=_metric("accuracy", 0.8922, 0.8899, (-0.0034, 0.0080)),
        metrics=(
            _metric("f1", 0.8951, 0.8934, (-0.0041, 0.0075)),
            _metric("matthews", 0.7845, 0.7798, (-0.0069, 0.0161)),
            _metric("false_positive_rate", 0.1121, 0.1168, (-0.0070, 0.0164), direction="lower"),
        ),
        gates=(
            GatePart(
                metric="accuracy",
                limit="1%",
                decide="point",
                verdict="pass",
                reason="lost 0.0023 of the 0.0089 allowed",
                value=0.0023,
                drop_limit=0.008922,
            ),
            GatePart(
                metric="agreement",
                limit="0.99",
                decide="point",
                verdict="pass",
                reason="0.9943 of the answers are float's, 0.9900 are needed",
                value=0.9943,
            ),
        ),
        operating_points=(
            OperatingPoint(
                metric="false_positive_rate",
                label="positive",
                threshold=0.5,
                reference=0.1121,
                engine=0.1168,
                restored_threshold=0.5134,
                restored=0.1121,
            ),
        ),
        passed=True,
        rows="rows.parquet",
        latency=tuple(
            LatencyPart(batch=b, length=n, milliseconds=i, reference_milliseconds=f, others={"dynamic INT8": d})
            for b, n, f, i, d in (
                (1, 32, 3.91, 1.94, 2.02),
                (1, 128, 13.2, 6.61, 6.72),
                (16, 128, 201.4, 96.8, 99.1),
                (8, 384, 388.0, 197.2, 201.9),
            )
        ),
        stages=tuple(
            StagePart(name=name, seconds=seconds, cached=cached, peak_rss_mib=peak)
            for name, seconds, cached, peak in (
                ("read", 0.4, False, 188.0),
                ("calibrate: channels", 0.1, True, 190.0),
                ("calibrate: ranges", 8.7, False, 611.0),
                ("quantize", 1.2, False, 640.0),
                ("export", 0.9, False, 655.0),
                ("evaluate", 17.8, False, 702.0),
            )
        ),
        sites=sites,
        worst_sites=tuple(site.site for site in worst[:3]),
        data=DataPart(
            calibration=DataSource(path="sst2/train.tsv", rows=256, digest="a1" * 32),
            validation=DataSource(path="sst2/dev.tsv", rows=872, digest="b2" * 32),
            overlap=3,
            truncated=2,
        ),
        environment=EnvironmentPart(
            cpu="AMD EPYC 9B14",
            features=("avx2", "avx512f", "avx512_vnni"),
            versions={"python": "3.11.7", "onnxruntime": "1.23.2", "numpy": "2.4.6"},
            threads=2,
            system="Linux x86_64",
        ),
        warnings=(
            "872 rows cannot tell a drop of 0.0023 from none; with --decide bound about 3,100 rows would settle it.",
        ),
    )


def failed_report() -> Report:
    """Return the same build when one role's ranges were wrong: it fails its gate."""
    report = sample_report()
    return report.model_copy(
        update={
            "accuracy": _metric("accuracy", 0.8922, 0.8177, (0.0573, 0.0917)),
            "gates": (
                GatePart(
                    metric="accuracy",
                    limit="1%",
                    decide="point",
                    verdict="fail",
                    reason="lost 0.0745, 0.0656 more than allowed",
                    value=0.0745,
                    drop_limit=0.008922,
                ),
            ),
            "passed": False,
        }
    )


def _metric(
    name: str, reference: float, engine: float, interval: tuple[float, float], direction: str = "higher"
) -> MetricPart:
    return MetricPart.model_validate(
        {
            "metric": name,
            "direction": direction,
            "samples": 872,
            "truncated": 2,
            "reference": reference,
            "engine": engine,
            "drop": round((reference - engine) * (1 if direction == "higher" else -1), 6),
            "drop_ci95": interval,
            "agreement": 0.9943,
            "logit_mse": 0.0075,
        }
    )


def _sites() -> tuple[SitePart, ...]:
    chance = random.Random(7)
    sites = []
    for layer in range(6):
        for role, typical in _ROLES.items():
            error = typical * math.exp(chance.gauss(0, 0.5)) * (3 if role == "gelu" and layer < 2 else 1)
            amax = chance.uniform(2, 14)
            worst = (layer, role) in ((0, "gelu"), (1, "gelu"), (3, "context"))
            sites.append(
                SitePart(
                    site=f"layer.{layer}.{role}",
                    role=role,
                    layer=layer,
                    lowered=role != "probs",
                    amax=amax,
                    scale=amax / 127,
                    error=error if role != "probs" else None,
                    sensitivity=error**2 if worst else None,
                    histogram=_histogram(amax) if worst else None,
                )
            )
    return tuple(sites)


def _histogram(amax: float) -> HistogramPart:
    edges = [1.6 * amax * index / 128 for index in range(129)]
    counts = [
        int(2e6 * math.exp(-edge / amax * 11)) + (1 if index % 9 == 0 else 0) for index, edge in enumerate(edges[:-1])
    ]
    return HistogramPart(edges=tuple(edges), counts=tuple(counts))
