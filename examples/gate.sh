#!/bin/sh
# Judge the gates of a suite on any CI system, or before a push:
#   sh examples/gate.sh suites/search.toml [more options of harness gate]
# The first time it stores the pipeline in use; commit that file.
set -u
suite=${1:?"usage: gate.sh SUITE [options]"}
shift

name=$(basename "$suite" .toml)
baseline=${BASELINE:-baselines/$name.parquet}
if [ ! -e "$baseline" ]; then
    harness baseline save "$suite" --baseline "$baseline" || exit
    echo "Stored $baseline. Commit it; from now on this script compares with it."
    exit 0
fi

harness gate "$suite" --baseline "$baseline" --junit-xml junit.xml --markdown gate.md "$@"
code=$?
case $code in
    0) echo "Nothing blocks." ;;
    1) echo "A gate failed: see gate.md. If the change is meant: harness baseline accept $suite" ;;
    3) echo "The stored baseline is of other data: see above." ;;
    5) echo "Too few queries to tell, and a gate wants to know: see gate.md." ;;
    *) echo "No verdict: see above." ;;
esac
exit $code
