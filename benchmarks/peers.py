"""The peers of the benchmarks: the same checkpoint as ONNX Runtime's own tools make it.

ONNX Runtime FP32 is torch's ONNX export optimized by `onnxruntime.transformers` (fused attention, SkipLayerNorm and
BiasGelu, its documented way for BERT); dynamic INT8 is `quantize_dynamic` of that, per channel, its best setting.
"""

from __future__ import annotations

import logging
import warnings
from pathlib import Path

from bertc.checkpoint import checkpoint_from_path
from bertc.graph.build import OUTPUTS, architecture_from_checkpoint


def export_with_torch(checkpoint: Path, out: Path) -> None:
    """Export a checkpoint of any supported head with torch.onnx, opset 17, dynamic batch and length."""
    import torch
    import transformers

    found = checkpoint_from_path(checkpoint)
    classes = {
        "sequence-classification": transformers.AutoModelForSequenceClassification,
        "token-classification": transformers.AutoModelForTokenClassification,
        "question-answering": transformers.AutoModelForQuestionAnswering,
        "feature-extraction": transformers.AutoModel,
    }
    model = classes[found.head.task].from_pretrained(checkpoint, dtype=torch.float32, attn_implementation="eager")
    names = OUTPUTS[found.head.task][:1] if found.head.task == "feature-extraction" else OUTPUTS[found.head.task]

    class Plain(torch.nn.Module):
        def __init__(self, inner: torch.nn.Module) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, ids, mask, types):  # type: ignore[no-untyped-def]
            found = self.inner(input_ids=ids, attention_mask=mask, token_type_ids=types)
            return tuple(found[name] for name in names)

    ids = torch.ones((2, 16), dtype=torch.int64)
    inputs = ["input_ids", "attention_mask", "token_type_ids"]
    axes = {name: {0: "batch", 1: "sequence"} for name in inputs}
    axes |= {name: {0: "batch"} for name in names}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            Plain(model.eval()),
            (ids, torch.ones_like(ids), torch.zeros_like(ids)),
            str(out),
            input_names=inputs,
            output_names=list(names),
            dynamic_axes=axes,
            opset_version=17,
            dynamo=False,
        )


def onnxruntime_models(checkpoint: Path, folder: Path) -> dict[str, Path]:
    """Write the peers' models; returns name -> file."""
    import onnxruntime
    from onnxruntime.quantization import QuantType, quantize_dynamic
    from onnxruntime.transformers.optimizer import optimize_model

    logging.getLogger().setLevel(logging.ERROR)
    onnxruntime.set_default_logger_severity(3)
    exported, fused, dynamic = (folder / f"{name}.onnx" for name in ("exported", "fused", "dynamic"))
    export_with_torch(checkpoint, exported)
    architecture = architecture_from_checkpoint(checkpoint_from_path(checkpoint))
    optimized = optimize_model(
        str(exported), model_type="bert", num_heads=architecture.heads, hidden_size=architecture.hidden, opt_level=0
    )
    statistics = optimized.get_fused_operator_statistics()
    if statistics["Attention"] != architecture.layers:
        raise SystemExit(f"onnxruntime.transformers fused {statistics['Attention']} attentions: no fair peer")
    optimized.save_model_to_file(str(fused))
    quantize_dynamic(
        str(fused), str(dynamic), op_types_to_quantize=["MatMul", "Attention"], per_channel=True,
        weight_type=QuantType.QInt8, extra_options={"DefaultTensorType": 1},
    )  # fmt: skip
    return {"onnxruntime fp32": fused, "onnxruntime dynamic int8": dynamic}
