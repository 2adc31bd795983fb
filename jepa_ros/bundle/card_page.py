"""A bundle's card as people read it in a terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

Block = dict[str, Any]


def card_page(card: Block) -> Group:
    """Everything in a card of `jepa_ros.bundle.card.bundle_card`, section by section."""
    return Group(*_parts(card))


def size(count: float) -> str:
    """Bytes as people say them: 11.6 MB."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} GB"


def operations(count: float) -> str:
    """FLOPs as people say them: 3.43 GFLOP."""
    for unit in ("FLOP", "kFLOP", "MFLOP", "GFLOP"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TFLOP"


def _parts(card: Block) -> Iterator[RenderableType]:
    identity = card["identity"]
    yield Text(f"{identity['name']} ({identity['family']})", style="bold")
    for warning in card["warnings"]:
        yield Text(f"warning: {warning}", style="yellow")
    yield _section("what it is", {
        "licence": identity["licence"],
        "source": identity["source"],
        "created by": identity["created_by"],
        "precision": identity["precision"],
        "goals": card["goals"],
        "signature": f"names key {identity['signed_by']}; verify it" if identity["signed_by"] else "none",
    })  # fmt: skip
    yield _section("what it sees", _sees(card["camera"], card["proprio"]))
    yield _section("time", _time(card["timing"]))
    yield _section("state", {tensor["name"]: _tensor(tensor) for tensor in card["state"]})
    yield _section("action", _action(card["action"]))
    yield _section("predictor", card["predictor"])
    yield _section("heads", {
        name: f"{head['kind']}, {', '.join(head['inputs'])} → {head['output']} ({head['file']})"
        for name, head in card["heads"].items()
    })  # fmt: skip
    yield _section("energy", {str(number): _term(term) for number, term in enumerate(card["cost"], 1)})
    yield _section("planner", card["planner"])
    yield _section("calibration", card["calibration"])
    yield _section(
        "files", {name: f"{size(file['bytes'])}  {file['sha256'][:12]}" for name, file in card["files"].items()}
    )
    if card["plan"] is not None:
        yield from _one_plan(card["plan"])
    yield _section("what a robot needs", _needs(card["needs"]))


def _section(title: str, rows: Block) -> RenderableType:
    """Names and values; what is none is left out."""
    table = Table.grid(padding=(0, 2))
    table.add_column(min_width=18, style="dim")
    table.add_column(overflow="fold")
    for name, value in rows.items():
        if value is not None:
            table.add_row(f"  {escape(name.replace('_', ' '))}", escape(_value(value)))
    return Group(Text(f"\n{title}", style="bold"), table if table.rows else Text("  none"))


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_value(part)}" for name, part in value.items()) or "none"
    if isinstance(value, list):
        return ", ".join(map(_value, value)) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _sees(camera: Block, proprio: Block | None) -> Block:
    kind = {1: "grey", 3: "RGB"}.get(camera["channels"], f"{camera['channels']} channels")
    how = f"{camera['resize'].replace('_', ' ')}, {camera['interpolation']}"
    if camera["interpolation"] in ("linear", "cubic"):
        how += ", averaged when made smaller" if camera["antialias"] else ", not averaged when made smaller"
    crop = dict(zip(("top", "bottom", "left", "right"), camera["crop"], strict=True))
    fov = camera["horizontal_fov_rad"]
    return {
        "camera": camera["name"],
        "image": f"{kind}, {camera['width']} × {camera['height']}",
        "crop, shares": {side: share for side, share in crop.items() if share} or None,
        "resize": how + (f", shorter side to {camera['resize_to']}" if camera["resize_to"] else ""),
        "field of view": "not known" if fov is None else f"{fov:.3f} rad across, after the crop",
        "frame stack": camera["frame_stack"],
        "proprio": None if proprio is None else _with_units(proprio["names"], proprio["units"]),
    }


def _time(timing: Block) -> Block:
    least, most = timing["history_min"], timing["history_max"]
    before = {"grow": "with fewer", "pad": "padded with the oldest", "require": "not planned before"}[timing["warm_up"]]
    return {
        "model step": f"{timing['step_s']:g} s",
        "frame skip": timing["frame_skip"],
        "history": f"{least} to {most} latents; {before}",
    }


def _tensor(tensor: Block) -> str:
    return f"{tensor['kind']} {tensor['shape']}, {tensor['role']}"


def _action(action: Block) -> Block:
    parts = zip(action["names"], action["low"], action["high"], action["units"], strict=True)
    return {
        **{name: f"{low:g} … {high:g} {unit}" for name, low, high, unit in parts},
        "greatest norm": action["norm_limit"],
        "fixed": action["fixed"] or None,
        "actions a step": action["block"],
        "is a change": action["delta"],
        "frame": action["frame"],
    }


def _term(term: Block) -> str:
    discount = "" if term["discount"] == 1 else f", discount {term['discount']:g}"
    how = "" if term["metric"] == "value" else f" {term['metric']} ({term['reduction']})"
    where = "" if term["tokens"] is None else f", tokens {_tokens(term['tokens'])}"
    return f"{term['weight']:g} × {term['source']}{how}{where}, steps: {term['steps']}{discount}"


def _tokens(mask: list[int | list[int]] | Block) -> str:
    if isinstance(mask, dict):
        return ", ".join(f"{axis} {begin}–{end - 1}" for axis, (begin, end) in mask.items())
    return ", ".join(str(item) if isinstance(item, int) else f"{item[0]}–{item[1] - 1}" for item in mask)


def _with_units(names: list[str], units: list[str]) -> str:
    return ", ".join(f"{name} ({unit})" for name, unit in zip(names, units, strict=True))


def _one_plan(plan: Block) -> Iterator[RenderableType]:
    yield _section("one plan", {
        "search": f"{plan['samples']} samples, {plan['iterations']} iterations, {plan['horizon']} steps ahead",
        "operations": operations(plan["flops"]),
        "weights": size(plan["weight_bytes"]),
        "buffers": size(plan["buffer_bytes"]),
        "activations": f"about {size(plan['activation_bytes'])}, {plan['rows_at_once']} samples at once",
    })  # fmt: skip
    table = Table("graph", "calls", "batch", "a call", "together", "weights")
    for use in plan["graphs"]:
        table.add_row(
            escape(use["file"]),
            str(use["calls"]),
            str(use["batch"]),
            operations(use["flops_a_call"]),
            operations(use["flops"]),
            size(use["weight_bytes"]),
        )
    yield table


def _needs(needs: Block) -> Block:
    camera, action = needs["camera"], needs["action"]
    fov, mount = camera["horizontal_fov_deg"], camera["mount"]
    view = "any: the training camera's is not known"
    if fov is not None:
        view = (
            f"{fov:.0f}° across, after the crop; off by {camera['warned_when_off_by_deg']:.1f}° is warned about, by "
            f"{camera['refused_when_off_by_deg']:.1f}° refused"
        )
    motion = f"{action['motion']}, of robot {action['robot']}" if action["motion"] else action["why_no_motion"]
    measured = needs["measured"]
    return {
        "topics": camera["topics"],
        "field of view": view,
        "camera mount": f"x {mount['x']:g} m, y {mount['y']:g} m, z {mount['z']:g} m from base_link, "
        f"{mount['pitch']:g} rad nose-down",
        "measured": None if measured is None else _with_units(measured["names"], measured["units"]),
        "motion": f"that accepts {_with_units(action['names'], action['units'])}: {motion}",
        "rate": f"{needs['plans_hz']:g} plans a second",
        "operations": _or_none(needs["flops_a_second"], lambda count: f"{operations(count)} a second"),
        "memory": _or_none(needs["memory_bytes"], lambda count: f"about {size(count)} and what ONNX Runtime takes"),
        "providers": f"with a tolerance {_value(needs['providers_with_a_tolerance'])}; "
        f"here {_value(needs['providers_here'])}",
    }


def _or_none(count: float | None, says: Callable[[float], str]) -> str | None:
    return None if count is None else says(count)
