# Sourced after python.sh, with HEADLAND_CACHE set: `python_clients` has the tests' Python and its packages in $venv,
# `tools NAME...` has Debian packages of these names installed.

venv=$HEADLAND_CACHE/venv

python_clients() {
    local wanted
    wanted=$(sha256sum tests/requirements.txt | cut -c1-16)
    [ "$(cat "$venv/.requirements" 2>/dev/null)" = "$wanted" ] && return
    make_venv "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check --requirement tests/requirements.txt
    echo "$wanted" > "$venv/.requirements"
}

tools() {
    local tool as_root
    as_root=$([ "$(id -u)" = 0 ] || echo sudo)
    for tool in "$@"; do
        command -v "$tool" >/dev/null && continue
        echo "installing $tool"
        $as_root apt-get install --yes --quiet "$tool" || { $as_root apt-get update --quiet && $as_root apt-get install --yes --quiet "$tool"; }
    done
}
