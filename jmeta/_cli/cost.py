"""What a training step of a run costs, as lines of text."""

import jax

from jmeta._catalogue.rows import Course
from jmeta._cost import cost, does_not_fit, readable


def cost_table(course: Course) -> tuple[str, str | None]:
    """Writes what one training step costs, and a sentence if it does not fit the device."""
    data = jax.eval_shape(course.train.sample, course.train.data, course.state.key)
    found = cost(course.step, course.state, data)
    rows = {
        "products and convolutions": readable(found.flops, "FLOP"),
        "memory traffic, loops once": _bytes(found.bytes_accessed),
        "temporary memory": _bytes(found.temporary_bytes),
        "arguments": _bytes(found.argument_bytes),
        "compilation": f"{found.compile_seconds:.1f} s",
    }
    lines = [f"  {name:<28}{value}" for name, value in rows.items()]
    return "\n".join(["cost of one training step:", *lines]), does_not_fit(found)


def _bytes(number: int | None) -> str:
    return "not known" if number is None else readable(number, "B")
