# Sourced: `make_venv DIR` makes a virtual environment, installing what Debian leaves out of Python where it may.

make_venv() {
    if ! python3 -m venv --clear "$1" >/dev/null 2>&1; then
        if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
            echo "python3 cannot make a virtual environment; install what it needs (Debian: sudo apt-get install python3-venv)" >&2
            return 1
        fi
        echo "installing python3-venv"
        { apt-get install -y -qq python3-venv || { apt-get update -qq && apt-get install -y -qq python3-venv; }; } >/dev/null
        python3 -m venv --clear "$1"
    fi
}
