#!/bin/sh
# Fills wheelhouse/ with every wheel that .venv needs, so that a machine like this one needs no network.
set -eu
unset CDPATH
cd "$(dirname "$0")/.."
python=.venv/bin/python
part=wheelhouse.part    # takes its name when it is complete

rm -rf "$part" && mkdir "$part"
trap 'echo "wheelhouse: not complete; what went wrong is above" >&2' EXIT
collect() { "$python" -m pip wheel -qq --disable-pip-version-check -c constraints.txt -w "$part" "$@"; }

echo "wheelhouse: collecting what .venv holds"
if ls -d .venv/lib/python3*/site-packages/torch-*+cpu*.dist-info >/dev/null 2>&1; then
    collect --no-deps --index-url "$TORCH_CPU_INDEX" torch # the same build, whatever the index prefers
fi
collect --find-links "$part" '.[test]' pip setuptools
rm -f "$part"/modelscale-*
version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
echo "$version $(uname -sm)" >"$part/made-for.txt"
rm -rf wheelhouse && mv "$part" wheelhouse
trap - EXIT
echo "wheelhouse: $(ls wheelhouse/*.whl | wc -l | tr -d ' ') wheels, $(du -sm wheelhouse | cut -f1) MB;" \
    "copy the folder beside a clone, and make lab installs from it (Python $(cat wheelhouse/made-for.txt))"
