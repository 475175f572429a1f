"""`tinynas explain`."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

import typer

from search_spaces.errors import UserError


class Recount(StrEnum):
    """What can count a network besides its graph."""

    thop = "thop"


def run(
    structure: Annotated[str, typer.Argument(help="A structure file, or a shipped name: T S M L Ns Nm Nl.")],
    device: Annotated[str | None, typer.Option(help="Latency table: t4, cpu, an id or a path.")] = None,
    image_size: Annotated[str | None, typer.Option(help="H or HxW in pixels, instead of the structure's.")] = None,
    num_classes: Annotated[int | None, typer.Option(min=1, help="Classes, instead of the structure's.")] = None,
    space: Annotated[
        str | None,
        typer.Option(
            help="Blocks of a text in a public format that does not name them: mob. With --why, a space file."
        ),
    ] = None,
    no_measure: Annotated[
        bool, typer.Option("--no-measure", help="With cpu: use a shipped table instead of adapting one to this CPU.")
    ] = False,
    why: Annotated[
        bool,
        typer.Option("--why", help="For a searched network: which limits bind, and what relaxing each would gain."),
    ] = False,
    check: Annotated[
        Recount | None, typer.Option(help="thop: count params and MACs on the torch module with thop too, and compare.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> int:
    """Show a structure op by op (shape, params, MACs, share of the latency, entropy), and the totals."""
    if why:
        given = {"--image-size": image_size, "--num-classes": num_classes, "--check": check}
        unused = next((option for option, value in given.items() if value is not None), None)
        if unused is not None:
            raise UserError(f"{unused}: --why explains the search that found the structure; leave {unused} out")
        _explain_why(structure, space, device, measure=not no_measure, json=json)
        return 0
    from search_spaces.image_size import parse_image_size
    from search_spaces.text import resolve_structure
    from tinynas.explanation import explain

    loaded = resolve_structure(structure, space)
    if image_size is not None:
        loaded = loaded.with_image_size(*parse_image_size(image_size))
    if num_classes is not None:
        loaded = loaded.with_classes(num_classes)
    table = None
    if device is not None:
        from tinynas.devices import Wanted, find_device

        wanted = Wanted(sizes=[loaded.image_size], classes=[loaded.head.num_classes])
        table = find_device(device, wanted, measure=not no_measure)
    explanation = explain(loaded, table)
    checked = None
    if check is Recount.thop:
        from tinynas.checking import check_by_thop

        checked = check_by_thop(loaded, explanation.account)
    if json:
        _print_json(structure, loaded, explanation, checked)
    else:
        _print_table(structure, loaded, explanation)
        if checked is not None:
            _print_check(checked)
    return 1 if checked is not None and not checked.agrees else 0


def _explain_why(name: str, space: str | None, device: str | None, *, measure: bool, json: bool) -> None:
    from search_spaces.text import resolve_structure
    from tinynas.why import as_data, plan_of, told, why

    structure = resolve_structure(name)
    found = why(structure, plan_of(structure, space, device=device, measure=measure))
    if json:
        import json as writer

        print(writer.dumps(as_data(found), indent=1))
    else:
        print("\n".join(told(found)))


def _print_json(name: str, structure: Any, explanation: Any, checked: Any) -> None:
    import json
    from dataclasses import asdict

    data = {
        "structure": name, "image_size": list(structure.image_size), "num_classes": structure.head.num_classes,
        **explanation.totals, "ops": [asdict(row) for row in explanation.ops],
        **({"check": checked.data()} if checked is not None else {}),
    }  # fmt: skip
    print(json.dumps(data, indent=1))


def _print_table(name: str, structure: Any, explanation: Any) -> None:
    from rich.console import Console
    from rich.table import Table

    from tinynas.quantities import QUANTITIES

    totals, prediction = explanation.totals, explanation.prediction
    height, width = structure.image_size
    table = Table(title=f"{name}, {height}x{width}, {structure.head.num_classes} classes", header_style="bold")
    table.add_column("op", no_wrap=True)
    table.add_column("kind")
    for column in ("output", "params", "MMACs", "ms", "% ms", "entropy"):
        table.add_column(column, justify="right", no_wrap=True)
    for row in explanation.ops:
        ms = share = ""
        if row.latency_ms is not None:
            ms = f"{row.latency_ms:.4f}" if row.latency_ms else "fused" if row.kind != "input" else ""
            share = f"{100 * row.latency_ms / totals['latency_ms']:.1f}" if row.latency_ms else ""
        table.add_row(
            row.path, row.kind, "x".join(map(str, row.shape)), f"{row.params:,}" if row.params else "",
            f"{row.macs / 1e6:.1f}" if row.macs else "", ms, share, f"{row.entropy:.2f}" if row.entropy else "",
        )  # fmt: skip
    # a terminal narrower than the table must not cut the figures; a pipe has no width at all
    console = Console(width=None if Console().width >= 110 else 110)
    console.print(table)
    for part, costs in totals["parts"].items():
        console.print(_costs_line(part, costs))
    on = f" on {prediction.table_id} (of which {prediction.overhead_ms:.3f} fixed)" if prediction is not None else ""
    console.print(_costs_line("total", totals) + on)
    named = ("params_train", "layers", "peak_memory_bytes", "score")
    console.print(", ".join(f"{QUANTITIES[name].label} {QUANTITIES[name].text(totals[name])}" for name in named))
    if prediction is not None:
        from tinynas.published import share_text

        console.print(share_text(totals["neck_share"]), highlight=False)
        shares = ", ".join(f"{origin} {100 * share:.0f} %" for origin, share in prediction.shares.items() if share)
        console.print(f"latency: {explanation.trust.text}", highlight=False)
        console.print(f"its rows: {shares}", highlight=False)


def _costs_line(name: str, costs: dict[str, Any]) -> str:
    """`backbone    11.346 M params   18.264 G MACs    1.651 ms`; no latency without a table."""
    from tinynas.quantities import QUANTITIES

    params, macs, latency = (QUANTITIES[key] for key in ("params", "conv_macs", "latency_ms"))
    weights, work = params.text(costs["params_deploy"]), macs.text(costs["conv_macs"])
    line = f"{name:9} {weights:>9} {params.label} {work:>10} {macs.label}"
    return line + (f" {latency.text(costs['latency_ms']):>10}" if costs["latency_ms"] is not None else "")


def _print_check(checked: Any) -> None:
    from tinynas.quantities import QUANTITIES

    params, macs = QUANTITIES["params"], QUANTITIES["conv_macs"]
    found = "as the graph has them" if checked.agrees else "NOT what the graph has: please report it"
    print(
        f"{checked.program} counts {checked.params:,} {params.label} (and {checked.unseen} scalars of the head that it does "
        f"not see), {checked.conv_macs:,} {macs.label}: {found}"
    )
