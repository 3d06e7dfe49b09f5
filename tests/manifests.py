"""Manifests and configuration files that tests write for themselves."""

import gateway as support


def app(folder, name, path, component, *, host=None, limits="", more=""):
    """An app manifest with one route to a built component."""
    folder.mkdir(parents=True, exist_ok=True)
    manifest = folder / f"{name}.app.toml"
    manifest.write_text(
        f'name = "{name}"\n[[route]]\npath = "{path}"\ncomponent = "{support.component(component)}"\n'
        + (f'host = "{host}"\n' if host else "")
        + f"[limits]\n{limits}\n{more}\n"
    )
    return manifest


def config(folder, text):
    """A headland.toml with that text."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "headland.toml"
    path.write_text(text)
    return path
