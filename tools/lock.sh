#!/bin/sh
# Remakes requirements.lock and environment.yml from pyproject.toml (./run lock). Needs the network.
# The lock is committed, so it names versions and hashes and never a host: uv.lock names hosts and
# stays out of git, and an export that names one is refused.
set -eu
cd -- "$(dirname -- "$0")/.."
uv=.venv/bin/uv
[ -x "$uv" ] || uv=$(command -v uv) || {
  echo "lock: needs uv on PATH or in .venv: python3 -m pip install uv" >&2
  exit 2
}
python=.venv/bin/python
[ -x "$python" ] || python=python3
new=requirements.lock.new
trap 'rm -f "$new"' EXIT

"$uv" --system-certs lock
"$uv" --system-certs export -q --frozen --all-groups --no-emit-project --no-annotate --no-header \
  --format requirements.txt -o "$new" >/dev/null
if grep -nE '[a-z+]+://|^ *-[-a-z]*(index|find-links|trusted)' "$new"; then
  echo "lock: the lines above name a host; requirements.lock is left as it was." >&2
  exit 1
fi
mv "$new" requirements.lock
"$python" tools/sync_env.py
echo "lock: requirements.lock and environment.yml are up to date with pyproject.toml." >&2
