#!/usr/bin/env bash
# torch: fake quantization per channel makes the smallest code of plus infinity; NaN has three answers.
#
# Versions: torch 2.13.0, numpy 2.4.6.
# Measured: 2026-12, Python 3.11, Linux, x86-64 with AVX-512.
# Expected: NaN stays NaN or is refused; infinity saturates at its own end; what training simulates is what quantizing
# does.
# Seen: fake_quantize_per_channel gives plus infinity, as an overflow of FP16 leaves it, the smallest code, with a
# gradient of zero; per tensor it is the largest. NaN is the smallest code in training, the largest in
# quantize_per_tensor, and zero or the smallest in quantize_per_channel. None of it is said, and the loss stays finite.
#
#   torch 2.13.0
#   guess: NaN stays NaN or is refused; infinity is the largest code, minus infinity the smallest; real and fake agree
#   qint8                       of  1.0    inf   -inf    nan
#     fake_quantize_per_tensor      1.0   12.7  -12.8  -12.8
#     quantize_per_tensor           1.0   12.7  -12.8   12.7
#     fake_quantize_per_channel     1.0  -12.8  -12.8  -12.8
#     quantize_per_channel          1.0   12.7  -12.8    0.0
#   quint8                      of  1.0    inf   -inf    nan
#     fake_quantize_per_tensor      1.0   12.7  -12.8  -12.8
#     quantize_per_tensor           1.0   12.7  -12.8   12.7
#     fake_quantize_per_channel     1.0  -12.8  -12.8  -12.8
#     quantize_per_channel          1.0   12.7  -12.8  -12.8
#   an overflow of FP16, per channel in training: -12.8, gradient 0
#
# Matters to: quantization-aware training in mixed precision: the overflow or the NaN that would stop it becomes a
# number.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check torch==2.13.0 numpy==2.4.6
venv/bin/python - <<'PYTHON'
import torch

print(f"torch {torch.__version__}")
print(
    "guess: NaN stays NaN or is refused; infinity is the largest code, minus infinity the smallest; real and fake agree"
)
INF, NAN = float("inf"), float("nan")
ROW = torch.tensor([[1.0, INF, -INF, NAN]])
SCALES = torch.tensor([0.1])
KINDS = {torch.qint8: (-128, 127, 0), torch.quint8: (0, 255, 128)}
found = {}
for kind, (lowest, highest, zero) in KINDS.items():
    zeros = torch.tensor([zero])
    found[kind] = {
        "fake_quantize_per_tensor": torch.fake_quantize_per_tensor_affine(ROW, 0.1, zero, lowest, highest),
        "quantize_per_tensor": torch.quantize_per_tensor(ROW, 0.1, zero, kind).dequantize(),
        "fake_quantize_per_channel": torch.fake_quantize_per_channel_affine(
            ROW, SCALES, zeros.int(), 0, lowest, highest
        ),
        "quantize_per_channel": torch.quantize_per_channel(ROW, SCALES, zeros, 0, kind).dequantize(),
    }
    print(f"{str(kind).removeprefix('torch.'):27} of  1.0    inf   -inf    nan")
    for name, values in found[kind].items():
        print(f"  {name:25}  ", "  ".join(f"{value:5.1f}" for value in values[0].tolist()))
overflown = (torch.full((1, 1), 60000.0).half() * 2).float().requires_grad_()
loss = torch.fake_quantize_per_channel_affine(overflown, SCALES, torch.tensor([0]).int(), 0, -128, 127).sum()
loss.backward()
print(f"an overflow of FP16, per channel in training: {loss.item():.1f}, gradient {overflown.grad.item():.0f}")
signed = found[torch.qint8]
nans = {name: round(values[0, 3].item(), 1) for name, values in signed.items()}
same = set(nans.values()) == {-12.8, 12.7, 0.0} and loss.item() < 0
same = same and all(values["fake_quantize_per_channel"][0, 1].item() < -12 for values in found.values())
same = same and all(values["fake_quantize_per_tensor"][0, 1].item() > 12 for values in found.values())
raise SystemExit(0 if same else "the behaviour is no longer so")
PYTHON
