#!/usr/bin/env bash
# Run a command with windows on a virtual screen, so that tests with real clicks and
# screenshots neither need a screen nor disturb the one in use. Without Xvfb the present
# screen is taken.
set -euo pipefail

if command -v xvfb-run >/dev/null; then
    export QT_QPA_PLATFORM=xcb LIBGL_ALWAYS_SOFTWARE=1
    exec xvfb-run --auto-servernum --server-args="-screen 0 1920x1200x24" "$@"
fi
if [ "$(uname -s)" = Linux ] && [ -z "${DISPLAY:-}${WAYLAND_DISPLAY:-}" ]; then
    echo "no screen and no xvfb-run: run scripts/install_system_packages.sh as root first" >&2
    exit 1
fi
exec "$@"
