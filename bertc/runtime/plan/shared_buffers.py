"""Few buffers for many values: what nobody reads any more makes room for what is written next."""

from __future__ import annotations

from dataclasses import replace

from bertc.runtime.plan.kernel_plan import NO_BUFFER, Buffer, Plan, Step


def share_buffers(plan: Plan) -> Plan:
    """Return a plan whose values share buffers of equal type, rows and width; in `plan` each has one of its own.

    A step writes over its residual if that is read for the last time, but never over an input: kernels read a row of
    an input again after they have written a part of it.
    """
    last = {buffer: number for number, step in enumerate(plan.steps) for buffer in step.read()}
    kept = {output.buffer for output in plan.outputs}
    buffers: list[Buffer] = []
    free: list[int] = []
    place = {NO_BUFFER: NO_BUFFER}

    def placed(step: Step) -> None:
        for buffer in step.written():
            if buffer in place:
                continue
            shape = plan.buffers[buffer]
            fitting = [number for number in free if buffers[number] == shape]
            if not fitting:
                buffers.append(shape)
                fitting = [len(buffers) - 1]
            place[buffer] = fitting[-1]
            free[:] = [number for number in free if number != fitting[-1]]

    def freed(number: int, candidates: tuple[int, ...]) -> None:
        dead = {buffer for buffer in candidates if last.get(buffer) == number and buffer not in kept}
        free.extend(place[buffer] for buffer in sorted(dead) if place[buffer] not in free)

    steps = []
    for number, step in enumerate(plan.steps):
        if step.residual not in step.operands():
            freed(number, (step.residual,))
        placed(step)
        freed(number, step.operands())
        steps.append(_placed(step, place))
    outputs = tuple(replace(output, buffer=place[output.buffer]) for output in plan.outputs)
    return Plan(steps=tuple(steps), buffers=tuple(buffers), outputs=outputs)


def _placed(step: Step, place: dict[int, int]) -> Step:
    query, key, value = (place[buffer] for buffer in step.inputs)
    query_numbers, key_numbers = (place[buffer] for buffer in step.numbers)
    return replace(
        step,
        inputs=(query, key, value),
        numbers=(query_numbers, key_numbers),
        segments=place[step.segments],
        out=place[step.out],
        out_codes=place[step.out_codes],
        residual=place[step.residual],
    )
