"""Compile a network to a bundle: any torch module with energy blocks becomes decks, weights, pictures and a manifest.

The same network gives the same bytes, pictures included.
"""

from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

from torch import Tensor, nn

from circuits.tiles import TileSize
from netlists.drawing import draw_block
from netlists.hierarchy import SAMPLE

from ..programming.settings import ProgrammingSettings
from ..threads import one_thread
from .block_deck import BlockDeck, build_deck, check_names
from .block_entry import BlockEntry, SampleEntry
from .bundle import MANIFEST, Bundle, digests
from .bundle_folder import check_place, write_bundle
from .chain_drawing import draw_chain
from .conductance_map import draw_conductances
from .description import describe_block, siemens
from .digital_side import DIGITAL, describe_chain, digital_tensors, find_analog_blocks, format_tensors
from .manifest import FORMAT, SCHEMA_FILE, VERSION, Manifest, RunEntry, format_manifest, format_schema
from .programmed_blocks import with_circuits
from .readme import README, format_readme
from .samples import BlockSamples, format_samples, relax_samples

DEFAULT_TILE: Final = TileSize(rows=64, columns=64)
CHAIN: Final = "network.svg"


@one_thread()
def compile_network(
    network: nn.Module,
    out: Path,
    *,
    tile: TileSize = DEFAULT_TILE,
    inputs: Tensor | None = None,
    run: RunEntry | None = None,
    force: bool = False,
    programming: ProgrammingSettings | None = None,
) -> Bundle:
    """Compile a network whose energy blocks are `AnalogBlock`s, or `HopfieldBlock`s, which are programmed.

    Args:
        network: any module with such blocks, or one of them; it stays as it is.
        out: the bundle's folder; it must not exist, or be empty, but for `force`.
        tile: the largest tile of a crossbar.
        inputs: [n, ...] inputs of the network, which become samples: a deck each, with the voltages expected.
        run: the run that the network comes from, if there is one.
        force: replace a bundle that is there, and nothing else.
        programming: window, scale and diodes of hopfield blocks, and the window that analog blocks move into; if left
            out, analog blocks stay as they are and hopfield blocks get the default.

    Returns:
        the bundle.

    Raises:
        CompileError: if there is no energy block, one cannot be programmed as asked, weights are not finite, names
            clash, a tile does not fit ngspice, or the inputs do not fit the network; with the module's path. Nothing is
            written then.
        NetlistError, CircuitError: if a circuit cannot be spelt.
        SimulationError: if a sample has no equilibrium.
        BundleError: if the place is taken.
        RunError: if it cannot be written.
    """
    check_place(out, force=force)
    network = with_circuits(network, programming)
    blocks = find_analog_blocks(network)
    decks = [build_deck(path, analog, tile) for path, analog in blocks.items()]
    check_names(decks)
    tensors = digital_tensors(network)
    samples = {} if inputs is None else relax_samples(network, inputs)
    files: dict[str, bytes] = {}
    entries = []
    for deck in decks:
        entry, content = _compile_block(deck, tile, samples.get(deck.module))
        entries.append(entry)
        files |= content
    chain = describe_chain(network, {analog: analog.block.name for analog in blocks.values()})
    digital, files[DIGITAL] = format_tensors(tensors)
    files[SCHEMA_FILE] = format_schema().encode()
    parts: dict[str, Any] = {
        "format": FORMAT,
        "version": VERSION,
        "tellegen": _own_version(),
        "tile_rows": tile.rows,
        "tile_columns": tile.columns,
        "chain": chain,
        "blocks": tuple(entries),
        "digital": digital,
        "run": run,
    }
    draft = Manifest(**parts, files={})
    files[CHAIN] = draw_chain(draft).encode()
    files[README] = format_readme(draft).encode()
    manifest = Manifest(**parts, files=digests(files))
    files[MANIFEST] = format_manifest(manifest).encode()
    write_bundle(out, files, force=force)
    return Bundle(path=out, manifest=manifest)


def _compile_block(
    deck: BlockDeck, tile: TileSize, samples: BlockSamples | None
) -> tuple[BlockEntry, dict[str, bytes]]:
    """Return a block's entry and its files."""
    analog, folder = deck.analog, deck.folder
    texts = {f"{folder}/{name}": text for name, text in deck.texts(deck.netlist).items()}
    listed: tuple[SampleEntry, ...] = ()
    if samples is not None:
        listed, more = format_samples(deck, samples)
        texts |= more
        texts[f"{folder}/{SAMPLE}"] = texts[listed[0].drives]
    texts[f"{folder}/circuit.svg"] = draw_block(analog.circuit, deck.netlist, deck.tiles, tile)
    files = {name: text.encode() for name, text in texts.items()}
    entry = describe_block(deck.module, analog, deck.netlist, deck.tiles, tile, listed)
    for crossbar, place in zip(analog.circuit.crossbars, entry.crossbars, strict=True):
        picture = draw_conductances(f"{analog.block.name}, crossbar {crossbar.name}", place, *siemens(analog, crossbar))
        files[place.conductance_map] = picture
    return entry, files


def _own_version() -> str:
    try:
        return version("tellegen")
    except PackageNotFoundError:  # run from its source
        return "unknown"
