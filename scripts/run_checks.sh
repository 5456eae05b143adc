#!/usr/bin/env bash
# Run all checks in two processes side by side, one core each: the linters and then the tests of
# slides, the search and the widgets on a virtual screen, and all other tests, whose report is last.
# They are shared out so that both take as long.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export OMP_NUM_THREADS=1

python=.venv/bin/python
report=$(mktemp)
"$python" -m pytest --ignore tests/widgets --ignore tests/slides --ignore tests/test_search.py >"$report" 2>&1 &
others=$!
trap 'kill "$others" 2>/dev/null || true; rm -f "$report"' EXIT
trap 'exit 130' INT TERM

failed=0
make --no-print-directory lint || failed=$?
scripts/on_virtual_screen.sh "$python" -m pytest tests/slides tests/test_search.py tests/widgets || failed=$?
wait "$others" || failed=$?
cat "$report"
exit "$failed"
