#!/bin/sh
# Trades a study around the clock: goes on with its newest run, or begins the first one.
# start.sh STUDY [options of ./run live]; they count for a new run alone.
set -eu
cd -- "$(dirname -- "$0")/../.."
study=$1
shift
python=.venv/bin/python
[ -x "$python" ] || python=python3
runs=${ALPHABOOK_DATA:-data}/live
newest=
# a run's name begins with the minute it was made in, so the last one is the newest
for folder in "$runs"/????-??-??_????_"$study"_????; do
  [ -f "$folder/journal.sqlite" ] && newest=${folder##*/}
done
if [ -n "$newest" ]; then
  exec "$python" -m research live --continue "$newest"
fi
exec "$python" -m research live "$study" "$@"
