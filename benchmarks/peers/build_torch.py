"""PyTorch's own models: they are made when they are opened, so nothing is written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from checkpoints import OUTPUTS, example_inputs, task_of, torch_model
from inputs import Inputs, padded

CALIBRATION_TEXTS = 32


def nothing(checkpoint: Path, folder: Path, inputs: Inputs) -> None:
    """The checkpoint is the model."""


def int8_model(checkpoint: Path, inputs: Inputs) -> Any:
    """Quantize by torchao's X86InductorQuantizer and compile with freezing."""
    import torch
    import torch._inductor.config
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e
    from torchao.quantization.pt2e.quantizer import x86_inductor_quantizer as x86

    torch._inductor.config.freezing = True
    inner = torch_model(checkpoint, "eager")
    names = OUTPUTS[task_of(checkpoint)]

    class Plain(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, ids: Any, mask: Any, types: Any) -> Any:
            found = self.inner(input_ids=ids, attention_mask=mask, token_type_ids=types)
            return tuple(found[name] for name in names)

    positions = inner.config.max_position_embeddings
    example = tuple(example_inputs().values())
    batch, length = torch.export.Dim("batch", max=512), torch.export.Dim("length", max=positions)
    dynamic = {0: batch, 1: length}
    with torch.no_grad():
        exported = torch.export.export(Plain().eval(), example, dynamic_shapes=(dynamic, dynamic, dynamic)).module()
        quantizer = x86.X86InductorQuantizer()
        quantizer.set_global(x86.get_default_x86_inductor_quantization_config())
        prepared = prepare_pt2e(exported, quantizer)
        for feature in inputs.features("calibration")[:CALIBRATION_TEXTS]:
            prepared(*map(torch.from_numpy, padded([feature, feature]).values()))
        return torch.compile(convert_pt2e(prepared))
