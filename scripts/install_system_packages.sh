#!/usr/bin/env bash
# Install what a window needs on a machine without a screen: a virtual X server, software
# OpenGL, and the X11 libraries that Qt loads. Debian and Ubuntu, as root or with sudo.
#
# Ends with 0 where everything is there, with 1 after saying what is missing.
set -uo pipefail

packages=(
    xvfb xauth libgl1-mesa-dri libgl1 libegl1 libdbus-1-3 libxkbcommon-x11-0
    libxcb-cursor0 libxcb-icccm4 libxcb-image0 libxcb-keysyms1 libxcb-randr0
    libxcb-render-util0 libxcb-shape0 libxcb-xinerama0
)

if [ "$(uname -s)" != Linux ]; then
    exit 0 # macOS and Windows bring their own windows
fi
if ! command -v dpkg-query >/dev/null; then
    echo "system packages: not a Debian machine; for the widget tests install what provides:" >&2
    echo "    ${packages[*]}" >&2
    exit 1
fi

missing() {
    for package in "${packages[@]}"; do
        dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q "ok installed" ||
            printf '%s ' "$package"
    done
}

read -r -a lacking <<<"$(missing)"
if [ "${#lacking[@]}" -eq 0 ]; then
    exit 0
fi

as_root=()
if [ "$(id -u)" -ne 0 ]; then
    if command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
        as_root=(sudo -n)
    else
        echo "system packages: not root; for the widget tests ask an administrator for:" >&2
        echo "    apt-get install ${lacking[*]}" >&2
        exit 1
    fi
fi

echo "system packages: installing ${lacking[*]}"
export DEBIAN_FRONTEND=noninteractive
"${as_root[@]}" apt-get update -qq </dev/null
"${as_root[@]}" apt-get install -y -qq --no-install-recommends "${lacking[@]}" </dev/null >/dev/null
read -r -a lacking <<<"$(missing)"
if [ "${#lacking[@]}" -gt 0 ]; then
    echo "system packages: still missing, and the widget tests need them: ${lacking[*]}" >&2
    exit 1
fi
