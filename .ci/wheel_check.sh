#!/usr/bin/env bash
# Build the wheel, install it in an empty environment, and test it there from an empty folder.
#
# Only this project's four packages come from the wheel. The third-party packages are links to those of .venv, so
# that torch is not fetched twice; `pip check` then holds them against the wheel's own requirements.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
base=$root/.venv/bin/python
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# From a copy: a build folder left in the tree would put deleted modules into the wheel.
mkdir "$work/source" "$work/empty"
cd "$root"
for name in circuits netlists cosim digital setup.cfg pyproject.toml LICENSE README.md; do
    cp -R "$name" "$work/source/"
done
"$base" -m build --wheel --no-isolation --outdir "$work/dist" "$work/source" >"$work/build.log" 2>&1 || {
    cat "$work/build.log" >&2
    exit 1
}

"$base" -m venv --without-pip "$work/env"
python=$work/env/bin/python
"$base" -m pip --disable-pip-version-check --python "$python" install --quiet --no-deps "$work"/dist/*.whl
site=$("$python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
for entry in "$("$base" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')"/*; do
    case "$(basename "$entry")" in
    # badcrossbar, which the wheel does not need, is installed without all of its requirements; it brings `tests`.
    badcrossbar* | tests) ;;
    tellegen* | __editable__* | pip | pip-* | *.pth | __pycache__) ;;
    *) ln -s "$entry" "$site/" ;;
    esac
done
"$base" -m pip --disable-pip-version-check --python "$python" check

# Every module and type marker of the tree is in the wheel, and the packages are the wheel's.
cd "$work/empty"
"$python" - "$root" "$site" <<'PY'
import importlib.util
import sys
from pathlib import Path

root, site = Path(sys.argv[1]), Path(sys.argv[2])
for package in ("circuits", "netlists", "cosim", "digital"):
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None or Path(spec.origin) != site / package / "__init__.py":
        sys.exit(f"wheel check: {package} is not the wheel's: {spec}")
    wanted = [*(root / package).rglob("*.py"), *(root / package).rglob("*.json")]
    wanted += [*(root / package).rglob("*.toml"), root / package / "py.typed"]
    missing = [str(path.relative_to(root)) for path in wanted if not (site / path.relative_to(root)).is_file()]
    if missing:
        sys.exit(f"wheel check: not in the wheel: {missing}")
PY

mkdir tests
for name in conftest.py test_packaging.py test_circuits_diode.py test_netlists_spice_writer.py; do
    cp "$root/tests/$name" tests/
done
PATH=$work/env/bin:$PATH
tellegen --help >/dev/null
tellegen doctor
python -m pytest -q -c "$root/setup.cfg" --rootdir "$work/empty" -p no:cacheprovider --ngspice=required tests
