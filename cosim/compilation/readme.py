"""The README of a bundle: what a circuit designer needs to open it, find a weight's device, and check it."""

from typing import Final

from .block_entry import BlockEntry, ConverterEntry, CrossbarEntry, Joins
from .bundle import count_devices, format_sizes, utilisation
from .digital_side import DIGITAL
from .manifest import Manifest
from .programming_texts import programming_section

README: Final = "README.md"


def format_readme(manifest: Manifest) -> str:
    """Return the text."""
    first = manifest.blocks[0]
    origin = (
        f"Compiled by tellegen {manifest.tellegen}{_origin(manifest)}. Everything here is plain text, but for the "
        f"pictures and `{DIGITAL}`."
    )
    prints = (
        f"prints the voltage of every node{_which_input(first)}. `sample.inc` holds the values of the sources that the "
        "input sets; nothing else of the deck changes with the input."
    )
    paragraphs = [
        "# A network whose energy blocks are circuits",
        origin,
        "![the chain of stages and blocks](network.svg)",
        _blocks(manifest),
        "## Run a block",
        f"```sh\ncd {first.folder}\nngspice -b top.cir\n```",
        prints,
        *_samples(first),
        "## Files",
        _files(manifest),
        "## From a weight to its devices",
        *_crossbars(first),
        "## Numbers",
        _numbers(first),
        *_converters(manifest),
        *programming_section(manifest),
        "## Back into the network",
        _back(manifest),
    ]
    return "\n\n".join(paragraphs) + "\n"


def _origin(manifest: Manifest) -> str:
    run = manifest.run
    if run is None:
        return " from a torch module"
    within = f" and {run.batch} batches" if run.batch else ""
    return f" from the {run.checkpoint} checkpoint of a run, after epoch {run.epoch}{within}"


def _blocks(manifest: Manifest) -> str:
    tile = f"{manifest.tile_rows}x{manifest.tile_columns}"
    rows = [
        f"| block | units | devices | tiles of {tile} | utilisation | drawing |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    rows += [
        f"| `{block.name}` | {format_sizes(block)} | {count_devices(block):,} | {len(block.tiles):,} | "
        f"{utilisation(block):.0%} | [circuit.svg]({block.folder}/circuit.svg) |"
        for block in manifest.blocks
    ]
    return "\n".join(rows)


def _which_input(block: BlockEntry) -> str:
    if block.samples:
        return " for the first sample"
    return " with every input at one unit, for no samples were asked for"


def _samples(block: BlockEntry) -> list[str]:
    if not block.samples:
        return []
    last = block.samples[-1].number
    numbers = f"`sample-0000.cir` to `sample-{last:04d}.cir`" if last else "`sample-0000.cir`"
    about = (
        f"Real inputs are in `{block.folder}/samples`: {numbers}, a deck each, and beside it a `.csv` with the voltage "
        "that the network has at every node:"
    )
    return [about, f"```sh\ncd {block.folder}/samples\nngspice -b sample-0000.cir\n```"]


def _files(manifest: Manifest) -> str:
    layers = [layer for block in manifest.blocks for layer in block.layers]
    rows = [
        ("manifest.json", "which node, device and source is which unit, weight and input; SHA-256 of every file"),
        ("manifest.schema.json", "its JSON schema"),
        (DIGITAL, "weights of the digital stages, by their torch names"),
        ("blocks/NAME/top.cir", "the deck: tolerances, the files it includes, an instance of each subcircuit"),
        (
            "blocks/NAME/sample.inc",
            "values of the sources that change: of the input, and of the nudges, which are zero",
        ),
        ("blocks/NAME/drivers.inc", "sources of inputs, bias, rails and nudges"),
    ]
    if any(block.crossbars for block in manifest.blocks):
        rows.append(("blocks/NAME/crossbars.inc", "a subcircuit a tile"))
    if any(layer.clamp is not None or layer.leak_s or layer.amplification for layer in layers):
        amplified = any(layer.amplification for layer in layers)
        what = "clamp diodes, leaks and amplifiers" if amplified else "clamp diodes and leaks"
        rows.append(("blocks/NAME/neurons.inc", f"{what}, a subcircuit a row of units"))
    if any(block.crossbars for block in manifest.blocks):
        rows.append(("blocks/NAME/*.png", "conductances of each crossbar"))
    return "\n".join(["| file | what |", "| --- | --- |", *(f"| `{name}` | {what} |" for name, what in rows)])


def _crossbars(block: BlockEntry) -> list[str]:
    if not block.crossbars:
        return [f"Block `{block.name}` has no crossbar."]
    table = [
        "| crossbar | row unit i | column unit j | G+ | G- |",
        "| --- | --- | --- | --- | --- |",
        *(_crossbar_row(crossbar) for crossbar in block.crossbars),
    ]
    about = (
        f"Of block `{block.name}`; `manifest.json` says it of the others. Units count from 0. Nodes carry the names of "
        "the units in every file, and each subcircuit is called once, as `x` and its name."
    )
    dense = [crossbar for crossbar in block.crossbars if crossbar.joins is Joins.DENSE]
    return [about, "\n".join(table), *(_example(block, crossbar) for crossbar in dense[:1])]


def _crossbar_row(crossbar: CrossbarEntry) -> str:
    def named(patterns: tuple[str, ...]) -> str:
        return ", ".join(f"`{pattern.format(row='<i>', column='<j>')}`" for pattern in patterns) or "none"

    return (
        f"| `{crossbar.name}` | {crossbar.rows} | {crossbar.columns} | {named(crossbar.plus_devices)} | "
        f"{named(crossbar.minus_devices)} |"
    )


def _example(block: BlockEntry, crossbar: CrossbarEntry) -> str:
    i, j = crossbar.shape[0] - 1, crossbar.shape[1] - 1
    tile = next(
        tile
        for tile in block.tiles
        if tile.crossbar == crossbar.name
        and tile.row_units[0] <= i < tile.row_units[1]
        and tile.column_units[0] <= j < tile.column_units[1]
    )
    names = [f"`{name}`" for name in crossbar.devices(i, j)]
    n_plus = len(crossbar.plus_devices)
    plus = f"{' and '.join(names[:n_plus])} {crossbar.plus_s[i][j]:.6g} S"
    if crossbar.minus_s is not None:
        plus += f", {' and '.join(names[n_plus:])} {crossbar.minus_s[i][j]:.6g} S"
    return (
        f"So weight (i, j) = ({i}, {j}) of `{crossbar.name}` is in tile `{tile.name}`: {plus}. The whole table is "
        f"`plus_s` and `minus_s` of the manifest's `blocks`, `crossbars`."
    )


def _numbers(block: BlockEntry) -> str:
    pair = block.polarity == "differential"
    state = "s = (v_p - v_n) / (2 v_unit)" if pair else "s = v / v_unit"
    weight = "w = (G+ - G-) / g_unit" if pair else "w = G / g_unit"
    both = "+x and -x on nodes p and n" if pair else "x"
    drive = (
        f"{both}, times v_unit, in volts" if block.drive == "voltage" else f"{both}, times g_unit v_unit, in amperes"
    )
    return (
        f"A state is `{state}`, a weight `{weight}`; an input x enters as {drive}. Block `{block.name}`: v_unit = "
        f"{block.v_unit_v:g} V, g_unit = {block.g_unit_s:g} S, conductances from {block.g_min_s:g} to "
        f"{block.g_max_s:g} S, {block.temperature_k:g} K."
    )


def _converters(manifest: Manifest) -> list[str]:
    rows = [
        f"| `{block.name}` | {_converter(block.converters.input)} | {_converter(block.converters.output)} |"
        for block in manifest.blocks
    ]
    head = "| block | DAC of the input | ADC of the output |\n| --- | --- | --- |\n"
    return ["Converters stand on both sides of a block; the decks are what is between them.", head + "\n".join(rows)]


def _converter(converter: ConverterEntry) -> str:
    errors = "" if converter.errors is None else ", with the errors of the manifest"
    if converter.bits is None:
        return f"ideal{errors}"
    scale = "the largest of each batch" if converter.in_force is None else f"{converter.in_force:g} {converter.unit}"
    return f"{converter.bits} bits, full scale {scale}{errors}"


def _back(manifest: Manifest) -> str:
    verify = "`tellegen verify .` runs every sample's deck in ngspice and compares"
    changed = "Both refuse a bundle with a file that was changed."
    if manifest.run is not None:
        return f"`tellegen eval .` scores the circuits of these decks on the images of the run; {verify}. {changed}"
    return (
        "`load_bundle(folder, simulator, into=network)` of `cosim.compilation.loading` puts these circuits into a "
        f"network like the one compiled, whose code is not in here; {verify}. {changed}"
    )
