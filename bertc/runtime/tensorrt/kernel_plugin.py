"""The plugin around the compiler's own attention kernel: what it computes on which grid, and its code for this GPU.

TensorRT calls the second function while it builds, and puts the code into the engine: running it takes neither Python
nor Triton. Never executed. Source of the functions' form: NVIDIA/TensorRT v11.1, python/packaging/bindings_wheel/
tensorrt/plugin/_lib.py.
"""

# Without `from __future__ import annotations`: TensorRT reads the annotations below, and takes types only, no text.

from bertc.errors import EnvironmentLackError
from bertc.runtime.tensorrt.cuda_memory import current_device


def register_kernel(identifier: str) -> None:
    """Make the plugin known to TensorRT as `namespace::name`, once in a process.

    Raises `EnvironmentLackError` where Triton is missing.
    """
    try:
        from bertc.runtime.tensorrt.kernels.ahead import compiled_attention
    except ImportError as error:
        raise EnvironmentLackError(
            'Triton is not installed, which --attention kernel needs; install it with pip install "bertc[triton]"'
        ) from error
    import tensorrt as trt
    import tensorrt.plugin as trtp

    if hasattr(trtp.op, identifier.split("::")[0]):
        return

    @trtp.register(identifier)
    def described(
        query: trtp.TensorDesc,
        key: trtp.TensorDesc,
        value: trtp.TensorDesc,
        ends: trtp.TensorDesc,
        longest: trtp.TensorDesc,
        scales: trtp.TensorDesc,
        heads: int,
        size: int,
    ) -> trtp.TensorDesc:
        return query.like()

    @trtp.aot_impl(identifier)
    def compiled(
        query: trtp.TensorDesc,
        key: trtp.TensorDesc,
        value: trtp.TensorDesc,
        ends: trtp.TensorDesc,
        longest: trtp.TensorDesc,
        scales: trtp.TensorDesc,
        heads: int,
        size: int,
        outputs: tuple[trtp.TensorDesc],
        tactic: int,
    ) -> tuple[str, str, trtp.KernelLaunchParams, trtp.SymIntExprs]:
        half = scales.dtype == trt.DataType.HALF
        kernel = compiled_attention(current_device().capability, size=size, half_scales=half)
        launch = trtp.KernelLaunchParams()
        launch.grid_x = trtp.cdiv(longest.shape_expr[0], kernel.rows)
        launch.grid_y = heads
        launch.grid_z = ends.shape_expr[0] - 1
        launch.block_x = kernel.threads
        launch.shared_mem = kernel.shared
        return kernel.name, kernel.ptx, launch, trtp.SymIntExprs(0)
